// The positions of the pipeline, from the end of the WAL to the carts, and what is missing at each. Pure.
import type { CartsStatus } from '#schemas/carts-status.ts';
import { formatLsn, parseLsn, toLsn } from '#schemas/lsn.ts';
import { findValue } from './prometheus-text.ts';
import { type Round, readerOf } from './rounds.ts';
import type { Progress } from './verdict.ts';

export interface Rung {
  readonly stage: 'written' | 'sent' | 'received' | 'committed in Kafka' | 'acknowledged' | 'applied in carts';
  /** As Postgres prints it; null: not known. */
  readonly lsn: string | null;
  /** Behind the rung before, in bytes of WAL. */
  readonly gapBytes: number | null;
  readonly gapRecords: number | null;
  readonly gapSeconds: number | null;
  /** The one that most is missing at. */
  readonly isSlowest: boolean;
}

export function buildLadder(round: Round, progress: Progress): Rung[] {
  const reader = readerOf(round);
  const at = (stage: string) => reader && findValue(reader, 'tillstream_reader_position_lsn', { stage });
  const through = reader && findValue(reader, 'tillstream_reader_through_lsn');
  const carts = round.find((one) => one.carts !== undefined)?.carts;
  const positions: [Rung['stage'], number | undefined][] = [
    ['written', at('written')],
    ['sent', at('sent')],
    ['received', at('received')],
    ['committed in Kafka', through || undefined],
    ['acknowledged', at('acknowledged')],
    ['applied in carts', appliedPosition(carts, progress, through)],
  ];
  let before: number | undefined;
  const rungs = positions.map(([stage, position]): Omit<Rung, 'isSlowest'> => {
    // Acknowledging is behind the carts at times: it waits for Kafka only, and is no rung that the carts depend on.
    const from = stage === 'applied in carts' ? through : before;
    before = position ?? before;
    const gapBytes = position === undefined || from === undefined ? null : Math.max(0, from - position);
    return {
      stage,
      lsn: position === undefined ? null : formatLsn(toLsn(BigInt(Math.round(position)))),
      gapBytes,
      gapRecords: stage === 'applied in carts' ? progress.pendingRecords : null,
      gapSeconds: stage === 'applied in carts' ? progress.lagSeconds : null,
    };
  });
  const largest = Math.max(0, ...rungs.map(({ gapBytes }) => gapBytes ?? 0));
  return rungs.map((rung) => ({ ...rung, isSlowest: largest > 0 && rung.gapBytes === largest }));
}

/** The newest position of the live partitions; with nothing pending, the carts are where Kafka is. */
function appliedPosition(
  carts: CartsStatus | undefined,
  { pendingRecords }: Progress,
  through: number | undefined,
): number | undefined {
  if (pendingRecords === 0) return through;
  const positions = (carts?.partitions ?? []).flatMap(({ position }) => position?.split(':')[1] ?? []);
  if (positions.length === 0) return undefined;
  return Math.max(...positions.map((lsn) => Number(parseLsn(lsn))));
}
