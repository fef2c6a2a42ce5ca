import { describe, expect, it } from 'vitest';
import { type FetchedPartition, hideAbortedMessages } from '#service/kafka-patches.ts';

const message = (offset: number, producer: number, options: { key?: string; inTransaction?: boolean } = {}) => ({
  offset: String(offset),
  key: Buffer.from(options.key ?? 'k'),
  isControlRecord: false,
  batchContext: { producerId: String(producer), inTransaction: options.inTransaction ?? true },
});
const marker = (offset: number, producer: number, type: 'abort' | 'commit') => ({
  ...message(offset, producer, { key: `\0\0\0${type === 'abort' ? '\0' : '\x01'}` }),
  isControlRecord: true,
});
const aborted = (producer: number, firstOffset: number) => ({
  producerId: String(producer),
  firstOffset: String(firstOffset),
});
/** The offsets that kafkajs hands over. */
const visible = (partition: FetchedPartition): number[] => {
  hideAbortedMessages(partition);
  expect(partition.abortedTransactions ?? []).toEqual([]);
  return partition.messages.filter(({ isControlRecord }) => !isControlRecord).map(({ offset }) => Number(offset));
};

describe('of a fetch, kafkajs is shown', () => {
  it.each<{ name: string; partition: FetchedPartition; offsets: number[] }>([
    {
      name: 'everything where nothing was aborted',
      partition: { abortedTransactions: [], messages: [message(0, 1), marker(1, 1, 'commit')] },
      offsets: [0],
    },
    {
      name: 'everything where the answer has no list',
      partition: { abortedTransactions: null, messages: [message(0, 1)] },
      offsets: [0],
    },
    {
      name: 'nothing of transactions that overlap, listed by their ends',
      partition: {
        abortedTransactions: [aborted(2, 1), aborted(1, 0)],
        messages: [message(0, 1), message(1, 2), marker(2, 2, 'abort'), message(3, 1), marker(4, 1, 'abort')],
      },
      offsets: [],
    },
    {
      name: 'nothing of transactions that all began before the fetch',
      partition: {
        abortedTransactions: [aborted(2, 1), aborted(3, 2), aborted(1, 0)],
        messages: [
          message(9, 1),
          marker(10, 2, 'abort'),
          message(11, 3),
          marker(12, 3, 'abort'),
          marker(13, 1, 'abort'),
        ],
      },
      offsets: [],
    },
    {
      name: 'what the same producer committed before and after, compared as numbers',
      partition: {
        abortedTransactions: [aborted(1, 100)],
        messages: [message(99, 1), message(100, 1), marker(101, 1, 'abort'), message(102, 1), marker(103, 1, 'commit')],
      },
      offsets: [99, 102],
    },
    {
      name: 'what others wrote meanwhile, in transactions or not',
      partition: {
        abortedTransactions: [aborted(1, 0)],
        messages: [message(0, 1), message(1, 2), message(2, -1, { inTransaction: false }), marker(3, 1, 'abort')],
      },
      offsets: [1, 2],
    },
    {
      name: 'nothing behind an aborted record whose key looks like a marker',
      partition: {
        abortedTransactions: [aborted(1, 0)],
        messages: [message(0, 1, { key: '\0\0\0\0' }), message(1, 1), marker(2, 1, 'abort')],
      },
      offsets: [],
    },
  ])('$name', ({ partition, offsets }) => {
    expect(visible(partition)).toEqual(offsets);
  });
});
