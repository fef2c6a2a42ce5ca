// The publication check, which every commit and acknowledgement waits for: are the captured tables still those that the
// checkpoint recorded? A publication that was altered, or a table that was renamed, swapped or moved, keeps rows out of the
// stream without an error. A check that began after a transaction had come, and finds the fingerprint unchanged, proves
// that nothing before it is missing (I11). It reads catalogues only. When to check is the publisher's and acknowledger's.
import {
  type CaptureDifference,
  type CaptureFingerprint,
  compareCapture,
  describeMoved,
  type RecordedCapture,
  recordedOids,
} from '#schemas/capture-fingerprint.ts';
import { LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import type { HaltError } from '#service/halt.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import { UnpublishableError } from '../encode/unpublishable-errors.ts';
import { captureChanged } from '../errors.ts';
import { READER_CAPTURE_CHANGED, READER_VISIBILITY_CHANGED } from '../metrics.ts';
import { findVisibilityProblems } from '../postgres/capture.ts';
import type { SourceSession } from '../postgres/source-session.ts';

export interface CaptureCheck {
  /**
   * @param throughLsn what is published, for the error
   * @param afterXid the catalogue must show what this transaction did: the stream may bring a COMMIT sooner
   * @throws the halt for a difference, or an error of Postgres
   */
  run(throughLsn: Lsn, afterXid?: number): Promise<void>;
  /** As the last check found it: what the next checkpoint records. */
  readonly accepted: CaptureFingerprint;
}

/** @param expected what the checkpoint has recorded; a change that loses nothing takes its place, with a warning. */
export function createCaptureCheck(options: {
  source: Pick<SourceSession, 'readCapture' | 'readTableNames' | 'readCurrentWal' | 'awaitVisible' | 'roleName'>;
  config: Pick<CdcReaderConfig, 'publicationName'>;
  expected: CaptureFingerprint;
  logger: Logger;
}): CaptureCheck {
  const { source, logger } = options;
  const { publicationName } = options.config;
  let accepted = options.expected;
  let visibilityProblems = '';

  const warnOfVisibility = (problems: readonly string[]): void => {
    const found = problems.join(' ');
    if (found === visibilityProblems) return;
    visibilityProblems = found;
    const event = { event: READER_VISIBILITY_CHANGED, role: source.roleName };
    if (found === '') logger.info(event, 'The role may read all captured rows again.');
    else logger.warn(event, `Publishing continues, but the next start will wait for this: ${found}`);
  };

  return {
    get accepted() {
      return accepted;
    },
    async run(throughLsn, afterXid) {
      if (afterXid !== undefined) await source.awaitVisible(afterXid);
      const { fingerprint, visibility } = await source.readCapture(publicationName);
      const recorded = accepted;
      const { differences, warnings } = compareCapture(recorded, fingerprint);
      if (differences.length > 0) {
        throw await explainCaptureChange(source, publicationName, { recorded, differences, throughLsn });
      }
      for (const warning of warnings) logger.warn({ event: READER_CAPTURE_CHANGED }, `Accepted: ${warning}.`);
      accepted = fingerprint;
      warnOfVisibility(
        findVisibilityProblems(visibility, source.roleName).map(({ problem, remedy }) => `${problem} ${remedy}`),
      );
    },
  };
}

/** The halt for these differences, with where the captured tables are now, and where the server's WAL ends. */
export async function explainCaptureChange(
  source: Pick<SourceSession, 'readTableNames' | 'readCurrentWal'>,
  publicationName: string,
  change: { recorded: RecordedCapture; differences: readonly CaptureDifference[]; throughLsn: Lsn },
): Promise<HaltError> {
  const { recorded, differences, throughLsn } = change;
  const names = await source.readTableNames(recordedOids(recorded).map(({ oid }) => oid));
  const { flushLsn } = await source.readCurrentWal();
  return captureChanged(publicationName, differences, describeMoved(recorded, names), throughLsn, flushLsn);
}

/** Builds events of rows that were read by name: where one can't be an event, a change of the tables is the better reason. */
export async function preferTablesChanged<T>(check: Pick<CaptureCheck, 'run'>, build: () => T): Promise<T> {
  try {
    return build();
  } catch (error) {
    if (error instanceof UnpublishableError) await check.run(LSN_ZERO);
    throw error;
  }
}
