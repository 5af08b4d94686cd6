/** The one failure of formatting that trying again cannot help: the message itself. */

/** The message cannot be taken apart. */
export class UnreadableMessageError extends Error {
  override readonly name = "UnreadableMessageError";
}
