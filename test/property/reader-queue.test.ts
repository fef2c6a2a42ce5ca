// Group commit: whatever comes in is taken out whole, once and in order, and no group is larger than it may be.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import type { EventRecord } from '../../cdc-reader/encode/encode-event.ts';
import { type PreparedTransaction, Queue } from '../../cdc-reader/pipeline/queue.ts';
import { restartDelayMs } from '../../cdc-reader/supervise/restart-policy.ts';

const bounds = { maxOrders: 10, maxBytes: 1_000 };
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ orders: fc.integer({ min: 1, max: 12 }), bytes: fc.integer({ min: 1, max: 1_200 }) }),
  },
  { weight: 1, arbitrary: fc.constant('take' as const) },
  { weight: 1, arbitrary: fc.constant('advance' as const) },
);

/** Its events carry its position as their key, and nothing else. */
const prepared = (size: Pick<PreparedTransaction, 'orders' | 'bytes' | 'endLsn' | 'isAlone'>): PreparedTransaction => ({
  ...size,
  commitLsn: size.endLsn,
  committedAt: 5n,
  events: Array.from({ length: size.orders }, () => ({ key: String(size.endLsn) }) as EventRecord),
  huge: undefined,
});

describe('group commit', () => {
  it('splits no transaction, keeps their order, keeps the bounds, and covers exactly what it holds', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const groups = new Queue(bounds);
        const all = new Map<string, PreparedTransaction>();
        const added: number[] = [];
        const taken: number[] = [];
        let position = 0n;
        let waitingThrough = 0n;
        const take = () => {
          const group = groups.take();
          if (group === undefined) return false;
          const { events } = group;
          const transactions = [...new Set(events.map(({ key }) => key))].map((key) => all.get(key)!);
          taken.push(...transactions.map(({ endLsn }) => Number(endLsn)));
          expect(group.transactions).toBe(transactions.length);
          expect(group.first).toMatchObject({ commitLsn: transactions[0]!.endLsn });
          expect(group.last.commitLsn).toBe(transactions.at(-1)!.endLsn);
          expect(events.findIndex(({ key }) => key === String(group.last.commitLsn))).toBe(group.last.fromIndex);
          expect(group.orders).toBe(transactions.reduce((sum, { orders }) => sum + orders, 0));
          if (transactions.length > 1) {
            expect(group.orders).toBeLessThanOrEqual(bounds.maxOrders);
            expect(transactions.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(bounds.maxBytes);
            expect(transactions.some(({ isAlone }) => isAlone)).toBe(false);
          }
          expect(group.throughLsn).toBeGreaterThanOrEqual(transactions.at(-1)!.endLsn);
          if (groups.isIdle) expect(group.throughLsn).toBe(waitingThrough);
          return true;
        };
        for (const one of steps) {
          if (one === 'take') {
            take();
          } else if (one === 'advance') {
            position += 1n;
            if (!groups.isIdle) waitingThrough = position;
            groups.advance(toLsn(position));
          } else {
            position += 1n;
            waitingThrough = position;
            added.push(Number(position));
            const isAlone = one.orders > bounds.maxOrders || one.bytes > bounds.maxBytes;
            const transaction = prepared({ ...one, isAlone, endLsn: toLsn(position) });
            all.set(String(position), transaction);
            groups.add(transaction);
          }
        }
        while (take()) {}
        expect(taken).toEqual(added);
        expect(groups).toMatchObject({ isIdle: true, isFull: false, bytes: 0 });
      }),
    );
  });

  it('is full when more waits than the next two groups hold, and lets a transaction that asks for it go alone', () => {
    const groups = new Queue(bounds);
    const add = (isAlone = false) => groups.add(prepared({ orders: 1, bytes: 10, endLsn: toLsn(1n), isAlone }));
    add();
    add(true);
    expect(groups.isFull).toBe(false);
    add();
    expect(groups.isFull).toBe(true);
    expect([groups.take(), groups.take(), groups.take()].map((group) => group?.transactions)).toEqual([1, 1, 1]);
  });
});

describe('restart delays', () => {
  it('grow to a bound, and keep two readers out of step', () => {
    const delays = Array.from({ length: 30 }, (_, attempt) => restartDelayMs('failure', attempt, 0.5));
    expect(delays[0]).toBe(100);
    expect(delays.at(-1)).toBe(2_000);
    expect([...delays].sort((a, b) => a - b)).toEqual(delays);
    expect(restartDelayMs('standby', 0, 0)).not.toBe(restartDelayMs('standby', 0, 0.99));
  });
});
