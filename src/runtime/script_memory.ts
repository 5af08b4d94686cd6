/**
 * What both sides of a script's thread agree on about memory. It must not know what scripts do.
 */

/** Asks the thread for the octets it has; the answer is a number. */
export const MEMORY_QUESTION = "memory?";

export function memoryError(limitBytes: number): Error {
  return new Error(`It took more memory than the ${Math.round(limitBytes / 1024 / 1024)} MiB it may`);
}
