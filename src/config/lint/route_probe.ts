/**
 * Sends imaginary recipients through the routing of `serve`, for rules that ask what would become of them. It must not know
 * what the rules look for.
 */
import { isGlob } from "../../binding/glob.ts";
import { ListFiles } from "../../binding/list.ts";
import { parsePattern, type PatternRole } from "../../binding/match.ts";
import { isRegexText } from "../../binding/regex.ts";
import { compileRoutes, type Query, type Router } from "../../binding/route.ts";
import { type Mailbox, parseForwardPath } from "../../smtp/address.ts";
import type { BindingConfig, Config, ListenerConfig } from "../config.ts";
import { receiversOf } from "../slave_listener.ts";
import type { LintContext } from "./rule.ts";

/** One router for each listener, in their order, then one for each channel (`receiversOf`); undefined when the configuration does not get that far. */
export type Routers = readonly Router[] | undefined;

/** Several rules ask; a configuration object belongs to one run. */
const known = new WeakMap<Config, Promise<Routers>>();

export function routersOf({ config, environment }: LintContext): Promise<Routers> {
  if (config === undefined) return Promise.resolve(undefined);
  const made = known.get(config) ?? makeRouters(config, environment);
  known.set(config, made);
  return made;
}

async function makeRouters(config: Config, environment: LintContext["environment"]): Promise<Routers> {
  const { files, nowMs } = environment;
  const lists = new ListFiles({
    files: {
      async readText(path) {
        const result = await files.readText(path);
        if ("text" in result) return result.text;
        throw new Error(result.reason);
      },
      async info(path) {
        const info = await files.info(path);
        return info === undefined ? undefined : { modifiedMs: 0, sizeBytes: info.sizeBytes };
      },
    },
    clock: { monotonicMs: () => nowMs },
    log: { info: () => {}, warn: () => {} },
  });
  try {
    const routers = receiversOf(config).map((listener) => compileRoutes(listener, config.bindings, lists));
    await lists.load();
    return routers;
  } catch {
    // A list that is missing or wrong is another rule's finding.
    return undefined;
  }
}

/** A small message without header fields from somebody who has not logged in. */
export function queryFor(
  listener: ListenerConfig,
  recipient: Mailbox,
  given: Pick<Query, "clientAddress" | "nowMs"> & Partial<Query>,
): Query {
  return {
    recipient,
    sender: { localPart: "somebody", domain: ELSEWHERE[0] },
    helo: `client.${ELSEWHERE[0]}`,
    tls: listener.tls.mode === "off" ? undefined : { version: "TLSv1.3" },
    user: undefined,
    notify: undefined,
    declaredSizeBytes: SMALL_BYTES,
    body: { sizeBytes: SMALL_BYTES, fields: [] },
    ...given,
  };
}

const SMALL_BYTES = 2000;

/** Domains that no configuration takes mail for, unless it takes mail for every domain, or for a whole top-level one. */
export const ELSEWHERE = ["q7x-w3k-nobodys.com", "q7x-w3k-nobodys.net", "mail.q7x-w3k-nobodys.org"] as const;

/** An address that each of a list's patterns matches, where that can be told from the pattern. */
export function samplesOf(items: BindingConfig["recipients"], role: PatternRole): readonly Mailbox[] {
  return (items ?? ["*"]).flatMap((item) => {
    const text = typeof item === "string" && !isRegexText(item) ? item : "";
    if (text === "*" || text === "<>") return [{ localPart: "probe", domain: ELSEWHERE[0] }];
    const parsed = parsePattern(text, role);
    const example =
      parsed.ok && parsed.pattern.kind !== "postmaster" && parsed.pattern.kind !== "address" && isGlob(text)
        ? text.replace(/\*/gu, "probe").replace(/\?/gu, "x")
        : text;
    const mailbox = parseForwardPath(`<${example}>`, 0);
    return mailbox.ok ? [mailbox.value] : [];
  });
}
