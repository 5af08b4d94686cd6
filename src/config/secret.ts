/**
 * Reads a secret from where the configuration says it is. It must not know what the secret is for, and never puts its text
 * into a message.
 */
import { quote } from "./diagnostic.ts";
import { type ConfigFiles, reasonOf } from "./include.ts";
import type { Secret } from "./config.ts";

export interface SecretContext {
  readonly files: Pick<ConfigFiles, "readText">;
  readonly environment: (name: string) => string | undefined;
}

/** A secret is not where the configuration says. The message names the place, never the secret. */
export class SecretError extends Error {
  override readonly name = "SecretError";
}

/** The secret's text. A line end at the end of a file is not part of it: editors and `echo` add one. */
export async function readSecret(secret: Secret, context: SecretContext): Promise<string> {
  switch (secret.kind) {
    case "inline":
      return secret.value;
    case "env": {
      const value = context.environment(secret.name);
      if (value === undefined || value === "") {
        const state = value === undefined ? "not set" : "empty";
        throw new SecretError(
          `The environment variable ${
            quote(secret.name)
          } is ${state}: set it, or use { file = "…" } in the configuration`,
        );
      }
      return value;
    }
    case "file": {
      let text: string;
      try {
        text = await context.files.readText(secret.path);
      } catch (error) {
        const message = `Cannot read the secret file ${quote(secret.path)}: ${reasonOf(error)}; ` +
          "check the path and that this user may read it";
        throw new SecretError(message, { cause: error });
      }
      const value = text.replace(/\r?\n$/u, "");
      if (value.trim() === "") {
        throw new SecretError(`The secret file ${quote(secret.path)} is empty: write the secret into it`);
      }
      return value;
    }
  }
}
