/**
 * Where accepted messages go to be attempted: the job controller that is in force at that moment. Sessions outlive a reload;
 * their messages do not go to a controller that is on its way out. It must not know what a delivery is.
 */
import type { JobController } from "../controller/controller.ts";

export type Deliveries = Pick<JobController, "deciding" | "claimable" | "accept" | "decide" | "nudge">;

const NONE: ReadonlySet<string> = new Set();

export class DeliveriesInForce implements Deliveries {
  #controller: JobController | undefined;

  take(controller: JobController): void {
    this.#controller = controller;
  }

  get deciding(): ReadonlySet<string> {
    return this.#controller?.deciding ?? NONE;
  }

  claimable: Deliveries["claimable"] = (channels) => this.#controller?.claimable(channels) ?? false;
  accept: Deliveries["accept"] = (leases) => this.#controller?.accept(leases);
  decide: Deliveries["decide"] = async (leases, rule) => await this.#controller?.decide(leases, rule);
  nudge: Deliveries["nudge"] = (channels) => this.#controller?.nudge(channels);
}

/** The channels among them that will be asked before the message is acknowledged, each once. */
export function askedOf(
  deliveries: readonly { readonly channel: string; readonly held?: true }[],
  deciding: ReadonlySet<string>,
): readonly string[] {
  const asked = deliveries.filter(({ channel, held }) => held !== true && deciding.has(channel));
  return [...new Set(asked.map(({ channel }) => channel))];
}
