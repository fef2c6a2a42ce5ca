// What stands at the offset of a halted partition and can be parked: a record, or a whole batch that can't be read. Reads and
// describes; guarantees that nothing behind it is passed over, and that a batch of any size is kept or described. Asking and
// parking: park-record.ts.
import type { WholeBatch } from '#kafka/reading/first-unit.ts';
import type { KafkaLog, LogRecord, UnitReader } from '#kafka/reading/log.ts';
import { addToTally, EMPTY_TALLY, parseReplayHeaders } from '#schemas/replay/records.ts';
import type { HaltedRecord } from '../../../cart-sink/apply/decide-parked.ts';
import type { AdoptSinkConfig } from '../../config.ts';
import { formatRecord, type Reading, readRecord } from '../../describe-record.ts';
import { READ_DEADLINE_MS } from '../../read-checkpoint.ts';
import { ToolRefusal } from '../../run-tool.ts';
import type { HaltedPartitionRow } from '../../sql/consumer-offsets.ts';

/** Bytes of a batch that are kept in parked_events. Twice a broker's default limit on a batch would fit many times. */
export const KEPT_BATCH_BYTES = 16 * 1024 * 1024;

export interface StandingUnit extends Pick<HaltedRecord, 'replay'> {
  readonly kind: 'record' | 'batch';
  readonly parked: HaltedRecord['record'];
  /** How it is shown before the question. */
  readonly lines: readonly string[];
  readonly reading: Reading;
}

/** @throws ToolRefusal if there is nothing, or the end of a batch is not certain */
export async function readStandingUnit(
  log: KafkaLog & UnitReader,
  config: Pick<AdoptSinkConfig, 'ordersTopic'>,
  halted: HaltedPartitionRow,
): Promise<StandingUnit> {
  const { topic, partition, next_offset: fromOffset, halted_code } = halted;
  const offsets = (await log.readOffsets(topic, READ_DEADLINE_MS)).get(partition);
  const isHeld = offsets !== undefined && offsets.earliest <= fromOffset && fromOffset < offsets.lastStable;
  const range = { topic, partition, fromOffset, untilOffset: offsets?.lastStable ?? 0n, deadlineMs: READ_DEADLINE_MS };
  const unit = isHeld ? await log.readFirstUnit(range) : undefined;
  if (unit?.kind === 'batch') return describeBatch(halted, unit.batch);
  if (unit?.kind === 'uncertain') {
    throw new ToolRefusal(
      `where the batch at offset ${fromOffset} of ${topic}[${partition}] ends is not certain: ${unit.why}. Delete up to its end ` +
        '(kafka-delete-records.sh), then run `npm run adopt -- sink`',
    );
  }
  if (unit?.kind === 'record') {
    // The sinks have a lower limit than this program, or another replica leads by now.
    if (!halted_code.startsWith('BATCH_')) return describeRecord(halted, config, unit.record);
    throw new ToolRefusal(
      `this program can read the batch at which ${topic}[${partition}] has halted with ${halted_code}: start the sinks again, with the ` +
        'MAX_EXPANDED_BATCH_BYTES of this command',
    );
  }
  const has = offsets === undefined ? 'has no such partition' : `holds ${offsets.earliest} to ${offsets.lastStable}`;
  throw new ToolRefusal(
    `Kafka has no record to park at offset ${fromOffset} of ${topic}[${partition}]: it ${has}. Records that are gone are adopted ` +
      'by `npm run adopt -- sink`',
  );
}

function describeRecord(
  { topic, halted_code }: HaltedPartitionRow,
  { ordersTopic }: Pick<AdoptSinkConfig, 'ordersTopic'>,
  record: LogRecord,
): StandingUnit {
  const found = parseReplayHeaders(record.headers);
  const kind = topic === ordersTopic ? 'live' : (found?.kind ?? 'unmarked');
  const reading = readRecord(record, kind);
  const { offset, key, value } = record;
  const isReplayedOrder = kind === 'order' && key !== null && value !== null;
  const reason = `parked by an operator after ${halted_code}: ${describeReading(reading)}`;
  return {
    kind: 'record',
    parked: { offset, lastOffset: offset, key, value, reason },
    lines: formatRecord(record, reading),
    reading,
    replay: isReplayedOrder ? { runId: found!.stamp.runId, tally: addToTally(EMPTY_TALLY, key, value) } : undefined,
  };
}

function describeReading(reading: Reading): string {
  if (reading.kind === 'unreadable') return reading.why;
  return reading.kind === 'order' ? 'a readable order' : 'a record of the replay tool';
}

/** Kept as one parked event, whose value is the batch as the broker has it; of a larger one only what describes it. */
export function describeBatch(
  { halted_code, next_offset }: Pick<HaltedPartitionRow, 'halted_code' | 'next_offset'>,
  { baseOffset, endOffset, bytes, statedCrc, actualCrc, error }: WholeBatch,
): StandingUnit {
  const hex = (crc: number) => crc.toString(16).padStart(8, '0');
  const isKept = bytes.length <= KEPT_BATCH_BYTES;
  const offset = baseOffset > next_offset ? baseOffset : next_offset;
  const lastOffset = endOffset - 1n;
  const what =
    `a whole record batch, offsets ${offset} to ${lastOffset}, ${bytes.length} bytes${isKept ? '' : ' (not kept)'}, ` +
    `CRC-32C ${hex(statedCrc)}${actualCrc === statedCrc ? '' : `, of its bytes ${hex(actualCrc)}`}`;
  return {
    kind: 'batch',
    parked: {
      offset,
      lastOffset,
      key: null,
      value: isKept ? bytes : null,
      reason: `parked by an operator after ${halted_code}: ${what}`,
    },
    lines: [`  batch    ${what}`, `  decoder  ${error.code}`],
    reading: { kind: 'unreadable', why: error.code },
    replay: undefined,
  };
}
