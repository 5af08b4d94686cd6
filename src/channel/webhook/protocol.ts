/** What goes between the channel and the thread that takes messages apart. One question at a time, one answer to each. */
import type { ParsedFormat } from "../webhook.ts";
import type { Dispatch, Payload } from "./payload.ts";

export type ToThread =
  /** The message that the following questions are about. Answer: `loaded` or `unreadable`. */
  | { readonly kind: "load"; readonly raw: Uint8Array }
  /** Answer: `payload`. */
  | { readonly kind: "format"; readonly format: ParsedFormat; readonly dispatch: Dispatch };

export type FromThread =
  | { readonly kind: "loaded" }
  | { readonly kind: "payload"; readonly payload: Payload }
  /** The message is at fault. */
  | { readonly kind: "unreadable"; readonly message: string }
  /** We are at fault. */
  | { readonly kind: "broken"; readonly message: string };
