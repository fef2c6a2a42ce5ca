import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { LogRecord } from '#kafka/protocol/record.ts';
import { findOffset } from '#kafka/reading/search.ts';

/** Records at these offsets, each with its number as its value; between them are markers. Counts what is fetched. */
function createLog(offsets: readonly bigint[]) {
  const log = {
    fetches: 0,
    async *readRecords({ fromOffset, untilOffset }: { fromOffset: bigint; untilOffset: bigint }) {
      log.fetches += 1;
      const records = offsets.flatMap((offset, index): LogRecord[] =>
        offset >= fromOffset && offset < untilOffset
          ? [{ offset, key: null, value: Buffer.from([index]), headers: {} }]
          : [],
      );
      for (const record of records) yield [record];
    },
  };
  return log;
}
const place = { topic: 't', partition: 0, deadlineMs: 1 };
const bits = (until: bigint) => until.toString(2).length;

it('finds the first record that is not before, past gaps and what can not be read, in few fetches', async () => {
  const offset = fc.bigInt({ min: 0n, max: 500n });
  const anyLog = fc.uniqueArray(offset, { maxLength: 60 }).map((found) => found.toSorted((a, b) => Number(a - b)));
  await fc.assert(
    fc.asyncProperty(anyLog, fc.nat(60), fc.func(fc.boolean()), async (offsets, wanted, isUnreadable) => {
      const log = createLog(offsets);
      const from = await findOffset(log, { ...place, fromOffset: 0n, untilOffset: 501n }, ({ value }) => {
        const index = value![0]!;
        return isUnreadable(index) ? undefined : index < wanted;
      });
      const readable = offsets.filter((_, index) => !isUnreadable(index));
      const first = readable.find((one) => offsets.indexOf(one) >= wanted);
      const before = readable.filter((one) => one < from);
      if (first !== undefined) expect(from <= first).toBe(true);
      expect(before.every((one) => offsets.indexOf(one) < wanted)).toBe(true);
      // Nothing that precedes it is read after it again.
      expect(readable.filter((one) => one >= from && offsets.indexOf(one) < wanted)).toEqual([]);
      expect(log.fetches).toBeLessThanOrEqual(bits(501n) + 1);
    }),
  );
});

it('ends at once in a partition that is empty', async () => {
  expect(await findOffset(createLog([]), { ...place, fromOffset: 7n, untilOffset: 7n }, () => true)).toBe(7n);
});
