/**
 * What lint rules may ask the network with `check --online`. Every question has a time limit, and none throws. It must not
 * know the rules.
 */
import { Resolver } from "node:dns/promises";
import { connect } from "node:net";
import type { LintNetwork } from "../config/lint/rule.ts";

const TIMEOUT_MS = 3000;

export function lintNetwork(): LintNetwork {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 2 });
  return {
    async addresses(name) {
      const [v4, v6] = await Promise.all([
        answer(() => resolver.resolve4(name)),
        answer(() => resolver.resolve6(name)),
      ]);
      return v4 === undefined && v6 === undefined ? undefined : [...v4 ?? [], ...v6 ?? []];
    },
    names: (address) => answer(() => resolver.reverse(address)),
    async mailExchangers(domain) {
      const found = await answer(() => resolver.resolveMx(domain));
      return found?.map(({ priority, exchange }) => ({ preference: priority, name: exchange }));
    },
    answers: (host, port) => connects(host, port),
  };
}

/** An empty list says that there is no such record; undefined, that nobody could tell. */
async function answer<Item>(ask: () => Promise<readonly Item[]>): Promise<readonly Item[] | undefined> {
  try {
    return await ask();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return code === "ENOTFOUND" || code === "ENODATA" ? [] : undefined;
  }
}

function connects(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (answers: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answers);
    };
    const timer = setTimeout(() => end(false), TIMEOUT_MS);
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
