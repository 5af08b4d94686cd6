/** Loads what opens connections when the first one is opened: most processes only take them. */
import type { ClientTransport, ConnectOptions, Endpoint } from "./runtime.ts";

/** `Network.connect` of both runtimes. */
export async function connect(endpoint: Endpoint, options: ConnectOptions): Promise<ClientTransport> {
  const { nodeConnect } = await import("./node_client.ts");
  return await nodeConnect(endpoint, options);
}
