/**
 * Messages that channels make, such as copies that a script forwards: stored like those of a session, for one channel that
 * the configuration names. It must not know why they are made.
 */
import type { Submit } from "../channel/channel.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Spool } from "../spool/spool.ts";
import type { Deliveries } from "./deliveries.ts";

export interface SubmissionServices {
  readonly spool: Spool;
  readonly runtime: Pick<Runtime, "clock">;
  readonly deliveries: Pick<Deliveries, "nudge">;
}

/** What stores messages for that channel. */
export function submitter(channel: string, { spool, runtime, deliveries }: SubmissionServices): Submit {
  return async ({ id, envelope, recipient, binding, content }) => {
    const refusal = spool.refusal();
    if (refusal !== undefined) throw refusal;
    await using draft = spool.begin();
    for await (const bytes of content) {
      const pending = draft.write(bytes);
      if (pending !== undefined) await pending;
    }
    await draft.commit({
      id,
      receivedAtMs: runtime.clock.nowMs(),
      envelope,
      deliveries: [{ recipient, channel, binding }],
    });
    deliveries.nudge([channel]);
  };
}
