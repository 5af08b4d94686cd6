/**
 * Where accepted messages go to be attempted: the job controller that is in force at that moment. Sessions outlive a reload;
 * their messages do not go to a controller that is on its way out. It must not know what a delivery is.
 */
import type { JobController } from "../controller/controller.ts";

export type Deliveries = Pick<JobController, "claimable" | "accept" | "nudge">;

export class DeliveriesInForce implements Deliveries {
  #controller: JobController | undefined;

  take(controller: JobController): void {
    this.#controller = controller;
  }

  claimable: Deliveries["claimable"] = (channels) => this.#controller?.claimable(channels) ?? false;
  accept: Deliveries["accept"] = (leases) => this.#controller?.accept(leases);
  nudge: Deliveries["nudge"] = (channels) => this.#controller?.nudge(channels);
}
