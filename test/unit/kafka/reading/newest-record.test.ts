import { describe, expect, it } from 'vitest';
import { BatchUnreadableError } from '#kafka/protocol/batch-errors.ts';
import type { LogRecord, ReadOptions } from '#kafka/reading/log.ts';
import { findNewestRecord } from '#kafka/reading/newest-record.ts';

/** A partition of records `key-<offset>`, two in each batch, one of them perhaps unreadable, and the ranges that were read. */
function createFakeLog({ bad = -1n }: { bad?: bigint } = {}) {
  const ranges: [bigint, bigint][] = [];
  const record = (offset: bigint): LogRecord => ({
    offset,
    key: Buffer.from(`key-${offset}`),
    value: null,
    headers: {},
  });
  return {
    ranges,
    async *readRecords({ fromOffset, untilOffset, isolation }: ReadOptions) {
      expect(isolation).toBe('read_committed');
      ranges.push([fromOffset, untilOffset]);
      if (fromOffset <= bad && bad < untilOffset) {
        throw new BatchUnreadableError({ topic: 't', partition: 0, baseOffset: bad }, 'for the test');
      }
      for (let offset = fromOffset; offset < untilOffset; offset += 2n) {
        yield [record(offset), record(offset + 1n)].filter((one) => one.offset < untilOffset);
      }
    },
  };
}

const partition = { topic: 't', partition: 0, earliest: 10n, untilOffset: 5_000n, deadlineMs: 1_000 };
const hasOffset = (offset: bigint) => (record: LogRecord) => record.offset === offset;

describe('the newest record of a partition', () => {
  it('is the last one of the first window, where any will do', async () => {
    const log = createFakeLog();
    expect((await findNewestRecord(log, partition))?.offset).toBe(4_999n);
    expect(log.ranges).toEqual([[4_936n, 5_000n]]);
  });

  it('is looked for in growing windows, which leave out nothing', async () => {
    const log = createFakeLog();
    expect((await findNewestRecord(log, { ...partition, isWanted: hasOffset(10n) }))?.offset).toBe(10n);
    expect(log.ranges).toEqual([
      [4_936n, 5_000n],
      [2_888n, 4_936n],
      [10n, 2_888n],
    ]);
  });

  it('is null where none is wanted, and in an empty partition', async () => {
    const log = createFakeLog();
    expect(await findNewestRecord(log, { ...partition, isWanted: () => false })).toBeNull();
    expect(await findNewestRecord(log, { ...partition, untilOffset: 10n })).toBeNull();
  });

  it.each([4_950n, 4_990n, 4_997n])('is found behind a batch at %s that can not be read', async (bad) => {
    expect((await findNewestRecord(createFakeLog({ bad }), partition))?.offset).toBe(4_999n);
  });

  it('is never looked for before a batch that can not be read', async () => {
    await expect(findNewestRecord(createFakeLog({ bad: 4_998n }), partition)).rejects.toThrow('for the test');
    const isWanted = hasOffset(4_940n);
    await expect(findNewestRecord(createFakeLog({ bad: 4_950n }), { ...partition, isWanted })).rejects.toThrow();
  });

  it('is looked for in a first window as wide as the caller says', async () => {
    const log = createFakeLog();
    await findNewestRecord(log, { ...partition, firstWindow: 4_096n });
    expect(log.ranges).toEqual([[904n, 5_000n]]);
  });
});
