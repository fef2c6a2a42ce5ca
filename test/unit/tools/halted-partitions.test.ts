// How audit, replay and adopt name a partition that has halted.
import { describe, expect, it } from 'vitest';
import { formatHaltedPartition } from '../../../tools/halted-partitions.ts';

const row = {
  topic: 'orders.placed',
  partition: 3,
  next_offset: 1207n,
  owner_epoch: 4n,
  halted_code: 'UNKNOWN_SCHEMA',
  halted_message: 'what was wrong',
  halted_at: new Date(0),
};

describe('a halted partition', () => {
  it.each([
    [
      'UNKNOWN_SCHEMA',
      "deploy sinks that have the schema, or park the record: npm run adopt -- sink --park 'orders.placed[3]@1207'",
    ],
    ['SINK_DEFECT', "npm run adopt -- sink --park 'orders.placed[3]@1207'"],
    ['RECORDS_LOST', 'run npm run adopt -- sink'],
  ])('is named with %s, its place and its command', (halted_code, command) => {
    const line = formatHaltedPartition({ ...row, halted_code });
    expect(line).toContain(
      `orders.placed[3] has halted at offset 1207 with ${halted_code} since 1970-01-01T00:00:00.000Z: `,
    );
    expect(line.endsWith(command)).toBe(true);
  });
});
