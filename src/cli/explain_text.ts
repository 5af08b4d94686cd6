/**
 * Explanations as text for people: listeners on which the same happens are one section, columns are aligned, nothing
 * unprintable comes through. It must not know where explanations come from.
 */
import type { Step } from "../binding/route.ts";
import { type Exchange, type ImaginedMessage, type RehearsedDelivery, replyLine } from "../config/rehearsal.ts";
import type { HeaderEdit } from "../message/edit.ts";
import { formatMailbox } from "../smtp/address.ts";
import type { Explanation } from "./explain_address.ts";
import { sizeText, type Style, styles, textWidth, visible } from "./terminal.ts";

export function explanationText(
  message: ImaginedMessage,
  explanations: readonly Explanation[],
  colour: boolean,
): string {
  const style = styles(colour);
  const sections = Map.groupBy(explanations, contentKey);
  const lines = [...messageLines(message, style)];
  for (const alike of sections.values()) {
    const [first] = alike;
    if (first === undefined) continue;
    const names = alike.map(({ rehearsal }) => visible(rehearsal.listener)).join(", ");
    lines.push("", style.bold(`${alike.length === 1 ? "Listener" : "Listeners"} ${names}`));
    lines.push(...sectionLines(message, first, style));
  }
  return `${lines.join("\n")}\n`;
}

/** The replies that depend on the host name alone make no difference. */
function contentKey({ rehearsal, tried, channels }: Explanation): string {
  const { outcome, deliveries } = rehearsal;
  return JSON.stringify([outcome, deliveries, tried, channels, shownReplies(rehearsal.dialogue)]);
}

function messageLines({ to, from, ip, user, tls, sizeBytes, headers, helo }: ImaginedMessage, style: Style) {
  const facts = [
    `from ${from === null ? "<>" : formatMailbox(from)}`,
    `client ${ip}`,
    `helo ${helo}`,
    ...(user === undefined ? [] : [`user ${user}`]),
    ...(tls === true ? ["TLS"] : []),
    ...(sizeBytes === undefined ? [] : [sizeText(sizeBytes)]),
  ];
  return [
    style.bold(`To ${visible(formatMailbox(to))}`),
    style.dim(`  ${visible(facts.join(", "))}`),
    ...headers.map(({ name, value }) => style.dim(`  ${visible(`${name}: ${value}`)}`)),
  ];
}

function sectionLines(message: ImaginedMessage, explanation: Explanation, style: Style): readonly string[] {
  const { rehearsal, tried, channels } = explanation;
  const { outcome, deliveries, binding, dialogue } = rehearsal;
  const lines = triedLines(message, tried, style);
  if (tried.length > 0 && binding === undefined) lines.push(style.yellow("  No binding matches."));
  const [nameWidth, typeWidth] = [
    widest(deliveries.map(({ channel }) => channel)),
    widest(channels.map(({ type }) => type)),
  ];
  if (deliveries.length > 0) lines.push("");
  for (const [index, delivery] of deliveries.entries()) {
    const { type, place, decides } = channels[index] ?? { type: "", place: "", decides: false };
    const name = style.bold(padded(delivery.channel, nameWidth));
    lines.push(`  to ${name}  ${padded(type, typeWidth)}  ${visible(place)}`.trimEnd());
    lines.push(...changeLines(message, delivery, decides));
  }
  lines.push("", ...replyLines(dialogue, style), "");
  const paint = outcome === "reject" ? style.red : outcome === "defer" ? style.yellow : style.bold;
  lines.push(`  ${paint(OUTCOME_WORDS[outcome])}`);
  return lines;
}

const OUTCOME_WORDS = {
  deliver: "Delivered.",
  hold: "Held: delivered when somebody releases it.",
  discard: "Discarded: taken, and delivered to nobody.",
  reject: "Rejected.",
  defer: "Deferred: the client tries again later.",
} as const;

/** One line for each binding; a line of its own where the address has become another. */
function triedLines({ to, from }: ImaginedMessage, tried: readonly Step[], style: Style): string[] {
  const width = widest(tried.map(({ binding }) => binding));
  const lines: string[] = [];
  let [address, sender] = [formatMailbox(to), formatMailbox(from)];
  for (const step of tried) {
    if (step.recipient !== address) {
      address = step.recipient;
      lines.push(style.dim(`  as ${visible(address)}`));
    }
    const name = padded(step.binding, width);
    const words = visible(stepWords(step));
    lines.push(
      step.result === "matched" ? `  ${style.bold(name)}  ${style.bold("yes")}  ${words}` : `  ${name}  no   ${words}`,
    );
    if (step.becomes === undefined) continue;
    const { becomes } = step;
    const space = " ".repeat(width + 9);
    if (becomes.recipient !== step.recipient) lines.push(`${space}recipient becomes ${visible(becomes.recipient)}`);
    if (becomes.sender !== sender) lines.push(`${space}sender becomes ${visible(becomes.sender || "<>")}`);
    sender = becomes.sender;
  }
  return lines;
}

const THEN_WORDS = {
  decides: "decides",
  continues: "and the next ones are tried",
  expands: "its aliases are tried",
  refuses: "refuses",
} as const;

function stepWords({ result, condition, value, then }: Step): string {
  if (result === "matched") return then === undefined ? "" : THEN_WORDS[then];
  const seen = value === undefined || value === "" ? "nothing" : value;
  return `${condition ?? "conditions"}: ${seen}`;
}

/** How the delivery differs from what was given. */
function changeLines(
  message: ImaginedMessage,
  { recipient, sender, edits, held }: RehearsedDelivery,
  decides: boolean,
) {
  const rows: (readonly [string, string])[] = [];
  if (recipient !== formatMailbox(message.to)) rows.push(["recipient", recipient]);
  if (sender !== undefined) rows.push(["sender", sender === "" ? "<>" : sender]);
  for (const edit of edits) rows.push(editRow(edit));
  if (held) rows.push(["held", "until somebody releases it"]);
  else if (decides) rows.push(["decides", "may still reject or defer at the end of data"]);
  const width = widest(rows.map(([label]) => label));
  return rows.map(([label, text]) => `     ${padded(label, width)}  ${visible(text)}`);
}

function editRow(edit: HeaderEdit): readonly [string, string] {
  switch (edit.kind) {
    case "prefix-subject":
      return ["subject prefix", edit.text];
    case "remove":
      return ["remove header", edit.name];
    default:
      return [`${edit.kind} header`, `${edit.name}: ${edit.value}`];
  }
}

/** The greeting and what follows it are of interest only when the client gets no further. */
function shownReplies(dialogue: readonly Exchange[]): readonly Exchange[] {
  const shown = dialogue.filter(({ command }) => ["MAIL", "RCPT", "end of data"].includes(command));
  const last = dialogue.at(-1);
  return last === undefined || shown.includes(last) ? shown : [...shown, last];
}

function replyLines(dialogue: readonly Exchange[], style: Style): readonly string[] {
  const shown = shownReplies(dialogue);
  const width = widest(shown.map(({ command }) => command));
  return shown.map(({ command, reply }) => {
    const text = visible(replyLine(reply));
    const painted = reply.code >= 500 ? style.red(text) : reply.code >= 400 ? style.yellow(text) : text;
    return `  ${padded(command, width)}  ${painted}`;
  });
}

function widest(texts: readonly string[]): number {
  return texts.reduce((width, text) => Math.max(width, textWidth(visible(text))), 0);
}

function padded(text: string, width: number): string {
  const shown = visible(text);
  return shown + " ".repeat(Math.max(0, width - textWidth(shown)));
}
