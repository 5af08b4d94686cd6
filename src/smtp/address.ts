/** placeholder types; replaced below */
export interface Mailbox {
  /** Unquoted: `"john doe"@x` has the local-part `john doe`. Case is kept. */
  readonly localPart: string;
  /** As given, case kept; an address literal with its brackets; "" only for `<Postmaster>`. */
  readonly domain: string;
}

/** `null` is the null reverse-path `<>`. */
export type ReversePath = Mailbox | null;
export type ForwardPath = Mailbox;
