import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type TakeoverIo, takeOver } from '../../../../cart-sink/consume/takeover.ts';
import type { Ownership } from '../../../../cart-sink/sql/consumer-offsets.ts';

const stored: Ownership = {
  topic: 'live',
  partition: 0,
  ownerEpoch: 2n,
  nextOffset: 5n,
  lastCommitLsn: '0/10',
  topicId: 'one',
};

describe('taking over a partition', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** With what the carts database has stored and the ids that the brokers return, the last one for ever. */
  const run = async (row: Partial<Ownership>, ...ids: (string | null)[]) => {
    const recorded: Ownership[] = [];
    const unknown: Ownership[] = [];
    const io: TakeoverIo = {
      takeOwnership: async () => [{ ...stored, ...row }],
      readRanges: async () => new Map([[0, { earliest: 0n, highWatermark: 9n }]]),
      readTopicId: async () => (ids.length > 1 ? ids.shift()! : ids[0]!),
      recordTopicIds: async (learnt) => void recorded.push(...learnt),
      onTopicIdUnknown: (learnt) => void unknown.push(learnt),
    };
    const taking = takeOver([{ topic: 'live', partition: 0 }], io, new AbortController().signal);
    const result = taking.then(
      ({ owned }) => owned[0]!.topicId,
      (error) => error,
    );
    await vi.runAllTimersAsync();
    return { result: await result, recorded: recorded.map(({ topicId }) => topicId), warnings: unknown.length };
  };

  it('continues in the topic in which the offset counts, and stores nothing', async () => {
    expect(await run({}, 'one')).toEqual({ result: 'one', recorded: [], warnings: 0 });
  });

  it('halts where the name leads to another topic, with both ids and the command', async () => {
    const { result, recorded } = await run({}, 'two');
    expect(result).toMatchObject({
      code: 'TOPIC_RECREATED',
      message: expect.stringContaining('npm run adopt -- sink'),
      details: { expectedTopicId: 'one', foundTopicId: 'two', nextOffset: '5' },
    });
    expect(recorded).toEqual([]);
  });

  it('asks again before it halts: one broker may not have heard of the topic yet', async () => {
    expect(await run({}, 'two', 'one')).toEqual({ result: 'one', recorded: [], warnings: 0 });
  });

  it('learns the id of a topic that was consumed before ids were stored, once and with a warning', async () => {
    expect(await run({ topicId: null }, 'one')).toEqual({ result: 'one', recorded: ['one'], warnings: 1 });
  });

  it('learns the id of a topic of which it has consumed nothing without a word, and also another one', async () => {
    expect(await run({ topicId: null, nextOffset: 0n }, 'one')).toEqual({
      result: 'one',
      recorded: ['one'],
      warnings: 0,
    });
    expect(await run({ nextOffset: 0n }, 'two')).toEqual({ result: 'two', recorded: ['two'], warnings: 0 });
  });

  it('goes on without an id where brokers have none, and keeps the one that is stored', async () => {
    expect(await run({}, null)).toEqual({ result: 'one', recorded: [], warnings: 0 });
    expect(await run({ topicId: null }, null)).toEqual({ result: null, recorded: [], warnings: 0 });
  });
});
