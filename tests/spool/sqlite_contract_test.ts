/** The SQLite store against the contract of all spools. */
import { join } from "node:path";
import { spoolContract } from "../contract/spool_contract.ts";
import { openSqlite, spoolRuntime, temporaryDirectory } from "./fixture.ts";

spoolContract("sqlite", async (clock) => {
  const directory = await temporaryDirectory();
  const again = () => openSqlite(join(directory.path, "spool.db"), { runtime: spoolRuntime(clock) });
  const spool = await again();
  return {
    spool,
    again,
    async [Symbol.asyncDispose]() {
      await spool[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
});
