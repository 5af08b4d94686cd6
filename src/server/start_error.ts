/** Why a server cannot start, or a new configuration cannot take over. */
export class StartError extends Error {
  override readonly name = "StartError";
  /** What has to be mended: the configuration, or the system it meets. */
  readonly kind: "configuration" | "system";
  constructor(message: string, kind: StartError["kind"], cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
