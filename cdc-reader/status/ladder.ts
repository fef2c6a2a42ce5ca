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
  /** Orders; of the carts records, parked ones too. Null where the WAL is not decoded yet: nobody knows. */
  readonly gapRecords: number | null;
  /** Null where there is no gap, but of the carts. */
  readonly gapSeconds: number | null;
  /** The one that most is missing at. */
  readonly isSlowest: boolean;
}

interface Position {
  readonly stage: Rung['stage'];
  readonly position: number | undefined;
  /** How long ago WAL was written that lies behind it, in seconds. */
  readonly age: number | undefined;
}

/** Positions are read a second or two apart, and of what is not for us only keepalives tell: what is less than that is no gap. */
const LEAST_GAP_BYTES = 1024 * 1024;

export function buildLadder(round: Round, progress: Progress): Rung[] {
  const reader = readerOf(round);
  const at = (stage: string) => reader && findValue(reader, 'tillstream_reader_position_lsn', { stage });
  const age = (stage: string) => reader && findValue(reader, 'tillstream_reader_position_age_seconds', { stage });
  const through = reader && findValue(reader, 'tillstream_reader_through_lsn');
  const carts = round.find((one) => one.carts !== undefined)?.carts;
  // They are read at different moments: what has come further on had come this far as well.
  const committed = through || undefined;
  const received = furthest(at('received'), committed);
  const sent = furthest(at('sent'), received);
  const stages: Position[] = [
    { stage: 'written', position: furthest(at('written'), sent), age: 0 },
    { stage: 'sent', position: sent, age: age('sent') },
    { stage: 'received', position: received, age: age('received') },
    { stage: 'committed in Kafka', position: committed, age: age('committed') },
    { stage: 'acknowledged', position: at('acknowledged'), age: age('acknowledged') },
    { stage: 'applied in carts', position: appliedPosition(carts, progress, through), age: undefined },
  ];
  // While no reader streams, pending orders are in the write-ahead log, undecoded.
  const decoding = progress.isStreaming ? reader : undefined;
  const inFlight = (decoding && findValue(decoding, 'tillstream_reader_in_flight_orders')) ?? null;
  const rungs = stages.map(({ stage, position, age }, index): Omit<Rung, 'isSlowest'> => {
    const lsn = position === undefined ? null : formatLsn(toLsn(BigInt(Math.round(position))));
    // Acknowledging is behind the carts at times: it waits for Kafka only, and is no rung that the carts depend on.
    const isLast = stage === 'applied in carts';
    const known = stages.slice(0, index);
    const from = isLast ? through : known.findLast((one) => one.position !== undefined)?.position;
    const gapBytes = position === undefined || from === undefined ? null : Math.max(0, from - position);
    if (isLast) {
      // Without the number of pending records an age says nothing.
      const { pendingRecords, lagSeconds } = progress;
      return {
        stage,
        lsn,
        gapBytes,
        gapRecords: pendingRecords,
        gapSeconds: pendingRecords === null ? null : lagSeconds,
      };
    }
    const gapRecords = stage === 'committed in Kafka' ? inFlight : null;
    const ageBefore = known.findLast((one) => one.age !== undefined)?.age;
    const isGap = (gapBytes ?? 0) >= LEAST_GAP_BYTES || (gapRecords ?? 0) > 0;
    const gapSeconds = isGap && age !== undefined && ageBefore !== undefined ? Math.max(0, age - ageBefore) : null;
    return { stage, lsn, gapBytes, gapRecords, gapSeconds };
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
