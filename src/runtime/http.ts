/** HTTP clients on both runtimes. What it takes is loaded with the first one. */
import type { Http } from "./runtime.ts";

export function nodeHttp(): Http {
  return {
    async open(options) {
      const { NodeHttpClient } = await import("./http_client.ts");
      return new NodeHttpClient(options);
    },
  };
}
