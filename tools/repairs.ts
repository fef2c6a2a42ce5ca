// The replay commands that apply orders which the live topic lacks: what adopt and the audit print as the next step.
import type { LsnRange } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import { windowSlotName } from '#schemas/resource-names.ts';
import type { SlotState, SourceSession } from '../cdc-reader/postgres/source-session.ts';

/** Applies every order that the ledger lacks. */
export const REPLAY_TABLES = 'npm run replay -- --source tables';

/**
 * The commands that close these gaps, the surest last: from the WAL if the replay window, which begins at `windowFromLsn`
 * (null: there is none), covers all of them, and from the tables.
 */
export function formatRepairs(gaps: readonly LsnRange[], windowFromLsn: Lsn | null): string[] {
  const [first, last] = [gaps.at(0), gaps.at(-1)];
  if (first === undefined || last === undefined || windowFromLsn === null || windowFromLsn > first.fromLsn) {
    return [REPLAY_TABLES];
  }
  const range = `--from-lsn ${formatLsn(first.fromLsn)} --to-lsn ${formatLsn(last.toLsn)}`;
  return [`npm run replay -- ${range}`, REPLAY_TABLES];
}

/** As in messages: [from, to), since the end is exclusive. */
export function formatRange({ fromLsn, toLsn }: LsnRange): string {
  return `[${formatLsn(fromLsn)}, ${formatLsn(toLsn)})`;
}

/** The first position that the replay window of this slot holds; null if there is no window, or its slot is lost. */
export async function readWindowFrom(source: SourceSession, slotName: string): Promise<Lsn | null> {
  const slot = await source.readSlot(windowSlotName(slotName));
  return slot === null || isLost(slot) ? null : slot.confirmedFlushLsn;
}

/** Postgres has invalidated the slot: nothing can be read from it any more. */
export function isLost({ walStatus, invalidationReason }: SlotState): boolean {
  return walStatus === 'lost' || invalidationReason !== null;
}
