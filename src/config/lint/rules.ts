/**
 * The lint rules there are, in the order of their codes. It must not know what they look at.
 */
import { broadPattern } from "./broad_pattern.ts";
import { expiringCertificate, uncoveredHostName, unusableKeyPair } from "./certificate.ts";
import { silentEndpoint, unresolvableRelay } from "./channel_endpoint.ts";
import { fileLimit, shortSession, sizeOverReserve } from "./contradicting_limit.ts";
import { disagreeingName, foreignExchanger } from "./dns_record.ts";
import { duplicatePattern } from "./duplicate_pattern.ts";
import { unqualifiedHostName } from "./host_name.ts";
import { missingFile } from "./missing_file.ts";
import { catchAll, openRelay } from "./open_relay.ts";
import { plainWebhook } from "./plain_webhook.ts";
import { privilegedPort } from "./privileged_port.ts";
import { relayLoop } from "./relay_loop.ts";
import { failedTest, lowCoverage, unknownTestName, unreachedBinding } from "./routing_test.ts";
import type { LintRule } from "./rule.ts";
import { inlineSecret, openSecretFile } from "./secret_exposure.ts";
import { shadowedBinding } from "./shadowed_binding.ts";
import { spoolDirectory, spoolFileSystem, spoolSpace } from "./spool_directory.ts";
import { unsetVariable } from "./unset_variable.ts";
import { unusedChannel } from "./unused_channel.ts";

export const lintRules: readonly LintRule[] = [
  missingFile,
  unsetVariable,
  shadowedBinding,
  unusedChannel,
  duplicatePattern,
  broadPattern,
  openRelay,
  catchAll,
  relayLoop,
  unusableKeyPair,
  expiringCertificate,
  uncoveredHostName,
  openSecretFile,
  inlineSecret,
  plainWebhook,
  privilegedPort,
  spoolDirectory,
  spoolFileSystem,
  spoolSpace,
  sizeOverReserve,
  shortSession,
  unqualifiedHostName,
  fileLimit,
  unresolvableRelay,
  foreignExchanger,
  disagreeingName,
  silentEndpoint,
  failedTest,
  unknownTestName,
  unreachedBinding,
  lowCoverage,
];
