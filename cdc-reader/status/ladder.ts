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

/** Positions are read a second or two apart: what is less than that is no gap. */
const LEAST_GAP_BYTES = 1024 * 1024;

export function buildLadder(round: Round, progress: Progress): Rung[] {
  const reader = readerOf(round);
  const at = (stage: string) => reader && findValue(reader, 'tillstream_reader_position_lsn', { stage });
  const through = reader && findValue(reader, 'tillstream_reader_through_lsn');
  const carts = round.find((one) => one.carts !== undefined)?.carts;
  // They are read at different moments: what has come further on had come this far as well.
  const committed = through || undefined;
  const received = furthest(at('received'), committed);
  const sent = furthest(at('sent'), received);
  const positions: [Rung['stage'], number | undefined][] = [
    ['written', furthest(at('written'), sent)],
    ['sent', sent],
    ['received', received],
    ['committed in Kafka', committed],
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
      // Without the number of pending records an age says nothing.
      gapSeconds: stage === 'applied in carts' && progress.pendingRecords !== null ? progress.lagSeconds : null,
    };
  });
  const largest = Math.max(LEAST_GAP_BYTES, ...rungs.map(({ gapBytes }) => gapBytes ?? 0));
  return rungs.map((rung) => ({ ...rung, isSlowest: rung.gapBytes === largest }));
}

function furthest(own: number | undefined, later: number | undefined): number | undefined {
  return own === undefined || later === undefined ? own : Math.max(own, later);
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
