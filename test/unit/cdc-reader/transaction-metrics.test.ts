// The figures of open Kafka transactions: their age, whose they are, and that none is shown that is too old to be true.
import { describe, expect, it } from 'vitest';
import { createMetrics } from '#service/metrics.ts';
import { createTransactionMetrics } from '../../../cdc-reader/transaction-metrics.ts';

const START_MS = Date.UTC(2026, 10, 28, 12);

function create() {
  let nowMs = START_MS;
  const metrics = createMetrics('test');
  const transactions = createTransactionMetrics(metrics, () => nowMs);
  const find = async () => (await metrics.render()).match(/^tillstream_reader_open_.*$/gm) ?? [];
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { ...transactions, find, pass };
}
const open = (options: { producerId?: bigint; lastTimestampMs?: number; startOffset?: bigint } = {}) => ({
  partition: 3,
  producerId: options.producerId ?? 12n,
  producerEpoch: 4,
  lastTimestampMs: options.lastTimestampMs ?? -1,
  transactionStartOffset: options.startOffset ?? 40n,
  highWatermark: 50n,
});
const series = (owner: string, producerId = 12) =>
  `{partition="3",producer="${producerId}",epoch="4",owner="${owner}"}`;

describe('open transactions', () => {
  it('have no figure before the first sample, and are none after one that found none', async () => {
    const { find, transactionsSampled } = create();
    expect(await find()).toEqual([]);
    transactionsSampled([]);
    expect(await find()).toEqual(['tillstream_reader_open_transactions 0']);
  });

  it('age from when they were first seen, in every sample and between two', async () => {
    const { find, transactionsSampled, pass } = create();
    transactionsSampled([open()]);
    pass(5_000);
    transactionsSampled([open({ lastTimestampMs: START_MS + 4_000 })]);
    pass(2_000);
    expect(await find()).toEqual([
      'tillstream_reader_open_transactions 1',
      `tillstream_reader_open_transaction_seconds${series('other')} 7`,
      `tillstream_reader_open_transaction_start_offset${series('other')} 40`,
    ]);
    transactionsSampled([open({ startOffset: 60n })]);
    expect((await find())[1]).toBe(`tillstream_reader_open_transaction_seconds${series('other')} 0`);
  });

  it('age from their last record where that is older than the first sample', async () => {
    const { find, transactionsSampled } = create();
    transactionsSampled([open({ lastTimestampMs: START_MS - 60_000 })]);
    expect((await find())[1]).toBe(`tillstream_reader_open_transaction_seconds${series('other')} 60`);
  });

  it('of the producer that this reader has are its own', async () => {
    const { find, fenced, transactionsSampled } = create();
    fenced({ producerId: 12n });
    transactionsSampled([open()]);
    expect((await find())[1]).toContain(series('this-reader'));
    transactionsSampled([open({ producerId: 13n })]);
    expect((await find())[1]).toContain(series('other', 13));
  });

  it('have no figure once Kafka has not answered for a while', async () => {
    const { find, transactionsSampled, pass } = create();
    transactionsSampled([open()]);
    pass(15_001);
    expect(await find()).toEqual([]);
  });
});
