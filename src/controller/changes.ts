/**
 * Waiting for something to be so, without asking again and again: whoever changes what conditions look at says so. It must
 * not know what they look at.
 */
export class Changes {
  #waiters: { readonly when: () => boolean; readonly resolve: () => void }[] = [];

  /** Resolves when the condition holds. */
  until(when: () => boolean): Promise<void> {
    if (when()) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ when, resolve }));
  }

  happened(): void {
    if (this.#waiters.length === 0) return;
    const met = this.#waiters.filter((waiter) => waiter.when());
    this.#waiters = this.#waiters.filter((waiter) => !met.includes(waiter));
    for (const waiter of met) waiter.resolve();
  }
}
