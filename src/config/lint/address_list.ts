/**
 * The lists of address patterns in all bindings, as they stand in the tree. It must not know what patterns mean.
 */
import type { PatternRole } from "../../binding/match.ts";
import { type Node, tableAt, type TableNode, tablesAt } from "../tree.ts";

export interface AddressList {
  readonly role: PatternRole;
  readonly items: readonly Node[];
}

const KEYS: readonly (readonly [key: string, role: PatternRole])[] = [
  ["recipients", "recipient"],
  ["senders", "sender"],
];

export function addressLists(root: TableNode): readonly AddressList[] {
  const bindings = [root, ...tablesAt(root, "listener")].flatMap((table) => tablesAt(table, "binding"));
  return bindings.flatMap((binding) => [binding, tableAt(binding, "not")]).flatMap((table) =>
    KEYS.flatMap(([key, role]) => {
      const node = table?.entries.get(key)?.node;
      return node === undefined ? [] : [{ role, items: node.kind === "array" ? node.items : [node] }];
    })
  );
}
