/**
 * The transaction: everything one mail transaction has gathered, from MAIL to the end of data (RFC 5321 §3.3). It is one
 * value that lives inside the session states in which a transaction may exist, so it cannot be half reset.
 */
import type { ForwardPath, ReversePath } from "./address.ts";

/** RFC 6152, RFC 3030 §3. */
export type BodyKind = "7bit" | "8bitmime" | "binarymime";

/** RFC 3461 §4.3. */
export type DsnReturn = "full" | "headers";

/** RFC 3461 §4.1; `never` stands alone. */
export type DsnNotify = readonly ("never" | "success" | "failure" | "delay")[];

export interface MailParameters {
  readonly body: BodyKind;
  readonly smtputf8: boolean;
  /** RFC 1870 §6: octets the client announced, when it did. */
  readonly sizeBytes?: number;
  readonly ret?: DsnReturn;
  /** Decoded from xtext. */
  readonly envid?: string;
}

export interface RecipientParameters {
  readonly notify?: DsnNotify;
  /** `address-type;address`, the address decoded from xtext. */
  readonly orcpt?: string;
}

export interface Recipient {
  readonly forwardPath: ForwardPath;
  readonly parameters: RecipientParameters;
}

export interface Transaction {
  readonly reversePath: ReversePath;
  readonly parameters: MailParameters;
  /** Accepted recipients, in order. */
  readonly recipients: readonly Recipient[];
}
