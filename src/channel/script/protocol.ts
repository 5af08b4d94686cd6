/**
 * What the channel and the thread of a script say to each other, and how much of it. It must not know either side.
 *
 * A thread handles one message at a time. Numbers of invocations let each side ignore what belongs to an earlier one.
 */

/** The beginning of a message goes along with the invocation, so that its header section need not be waited for. */
export const FIRST_PIECE_BYTES = 256 * 1024;
/** Of one piece after that. */
export const PIECE_BYTES = 64 * 1024;
/** A reply is held in memory as a whole. */
export const MAX_REPLY_BYTES = 25 * 1024 * 1024;
/** Forwarded copies and replies of one invocation. */
export const MAX_SUBMISSIONS = 100;
/** Lines that one invocation may put into the log, and the characters of each. */
export const MAX_LINES = 100;
export const MAX_LINE_CHARACTERS = 1_000;

export type ConsoleLevel = "debug" | "info" | "warn" | "error";

export interface Invoke {
  readonly kind: "invoke";
  readonly invocation: number;
  readonly from: string;
  readonly to: string;
  readonly sizeBytes: number;
  readonly canBeForwarded: boolean;
  /** The beginning of the message. */
  readonly first: Uint8Array;
  /** Whether that is all of it. */
  readonly isWhole: boolean;
}

export type ToScript =
  | { readonly kind: "start"; readonly module: string; readonly env: Readonly<Record<string, string>> }
  | Invoke
  /** Without bytes: the message is over. */
  | { readonly kind: "piece"; readonly invocation: number; readonly bytes?: Uint8Array; readonly error?: string }
  | {
    readonly kind: "answer";
    readonly invocation: number;
    readonly request: number;
    readonly messageId?: string;
    readonly error?: string;
  };

export type ScriptVerdict =
  | { readonly kind: "handled" }
  | { readonly kind: "rejected"; readonly reason: string }
  | { readonly kind: "threw"; readonly error: string };

export interface ForwardRequest {
  readonly kind: "forward";
  readonly invocation: number;
  readonly request: number;
  readonly to: string;
  readonly headers: readonly (readonly [string, string])[];
}

export interface ReplyRequest {
  readonly kind: "reply";
  readonly invocation: number;
  readonly request: number;
  readonly from: string;
  readonly to: string;
  readonly content: Uint8Array;
}

export type FromScript =
  /** `files`: the module and what it imports of its own, as paths. */
  | { readonly kind: "started"; readonly files: readonly string[] }
  | { readonly kind: "not-started"; readonly error: string }
  /** Asks for the next piece. */
  | { readonly kind: "pull"; readonly invocation: number }
  | ForwardRequest
  | ReplyRequest
  /** The handler has come to its end; what it left to `waitUntil` may still be under way. */
  | { readonly kind: "verdict"; readonly invocation: number; readonly verdict: ScriptVerdict }
  /** Everything has come to its end: the thread is free. */
  | { readonly kind: "ended"; readonly invocation: number }
  | { readonly kind: "line"; readonly level: ConsoleLevel; readonly text: string };
