/**
 * `smtpd schema`: the JSON Schema of the configuration on standard output. It must not know the schema.
 */
import { channelTypes } from "../channel/registry.ts";
import { configurationJsonSchema } from "../config/json_schema.ts";
import type { Runtime } from "../runtime/runtime.ts";

export function schemaCommand(runtime: Runtime): number {
  const schema = configurationJsonSchema(channelTypes.values());
  runtime.processes.stdio.writeOut(`${JSON.stringify(schema, undefined, 2)}\n`);
  return 0;
}
