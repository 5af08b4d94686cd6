/**
 * The client's side of SASL mechanisms (RFC 4954, RFC 4616): what to send first and in answer to challenges. It must not know
 * of commands or of base64.
 */
import { asciiBytes, concatBytes, EMPTY, NUL, utf8Bytes } from "./bytes.ts";

export interface SaslMechanism {
  /** As EHLO offers it, in upper case. */
  readonly name: string;
  begin(): SaslExchange;
}

export interface SaslExchange {
  /** Goes with the command; undefined: the server speaks first. */
  readonly initial?: Uint8Array;
  /** The answer to a challenge; undefined: there is none, the exchange is cancelled. */
  respond(challenge: Uint8Array): Uint8Array | undefined;
}

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** RFC 4616 §2: message = [authzid] UTF8NUL authcid UTF8NUL passwd. */
export function plainMechanism({ user, password }: Credentials): SaslMechanism {
  const separator = Uint8Array.of(NUL);
  return {
    name: "PLAIN",
    begin() {
      const initial = concatBytes([separator, utf8Bytes(user), separator, utf8Bytes(password)]);
      // A server that ignores initial responses sends an empty challenge.
      return { initial, respond: (challenge) => challenge.length === 0 ? initial : undefined };
    },
  };
}

/** Was never standardised: two prompts, whose texts vary, for the user and the password. */
export function loginMechanism({ user, password }: Credentials): SaslMechanism {
  return {
    name: "LOGIN",
    begin() {
      const answers = [user, password];
      return {
        respond() {
          const answer = answers.shift();
          return answer === undefined ? undefined : utf8Bytes(answer);
        },
      };
    },
  };
}

/** The bearer token is the password. A challenge tells why it was refused and wants an empty answer. */
export function xoauth2Mechanism({ user, password }: Credentials): SaslMechanism {
  return {
    name: "XOAUTH2",
    begin: () => ({
      initial: concatBytes([asciiBytes("user="), utf8Bytes(user), utf8Bytes(`\x01auth=Bearer ${password}\x01\x01`)]),
      respond: () => EMPTY,
    }),
  };
}
