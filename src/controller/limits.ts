/**
 * The controller's limits, each with its reason. What an operator may change is in a channel's configuration instead.
 */

/**
 * How long a lease lasts before another process may take the delivery over. It bounds the wait after a crash; leases of
 * living attempts are renewed, so slow channels do not need a longer one.
 */
export const LEASE_MS = 30_000;

/** A lease is renewed once a third of it has passed, so that two renewals may fail before it is lost. */
export const RENEW_BELOW_MS = LEASE_MS * 2 / 3;

/** Period of the one ticker that looks for late attempts and leases to renew: time-outs are precise to this. */
export const TICK_MS = 1_000;

/** How long a channel may take to obey its abort signal before its attempt is given up and the slot is used again. */
export const ABANDON_AFTER_MS = 5_000;

/** Other processes may add work to the same spool without a word; this bounds how long it goes unnoticed. */
export const LOOK_EVERY_MS = 5_000;

/** Between two looks at a channel that had less work than expected, so that a spool's wrong estimate cannot make us spin. */
export const LOOK_AGAIN_MS = 100;

/** Recipients of one job: what RFC 5321 §4.5.3.1.8 lets every server accept in one transaction. */
export const JOB_MAX_RECIPIENTS = 100;

/** Deliveries taken beyond the free slots, so that a channel need not wait for the spool between jobs; adapts to its speed. */
export const AHEAD_MIN = 8;
export const AHEAD_MAX = 512;

/** Deliveries claimed at commit that may wait for a slot; above it the spool keeps them. Above twice this they are given back. */
export const WAITING_MAX = 256;

/** Settlements in one call of the spool: one transaction, one message to its worker. */
export const SETTLE_BATCH_MAX = 512;

/** With more settlements than this not yet recorded nothing new is claimed: the spool is slower than the channels. */
export const UNRECORDED_MAX = 4_096;

/** Wait after a spool failure, doubled after each further one up to the maximum. */
export const SPOOL_RETRY_FIRST_MS = 200;
export const SPOOL_RETRY_MAX_MS = 10_000;

/** At shutdown, how long outcomes may take to be recorded before they are left to the expiry of their leases. */
export const RECORD_GRACE_MS = 5_000;

/** Notifications that are made and stored at one time: enough to share an fsync, too few to matter for memory. */
export const NOTIFYING_MAX = 16;
