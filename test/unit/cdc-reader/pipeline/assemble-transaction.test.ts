// Assembly: from messages to transactions, in memory and through the temporary file, with what must halt.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { toLsn } from '#schemas/lsn.ts';
import {
  type CommittedTransaction,
  createTransactionAssembler,
} from '../../../../cdc-reader/pipeline/assemble-transaction.ts';
import type { PgoutputMessage } from '../../../../cdc-reader/postgres/pgoutput.ts';
import { exampleCaptured, exampleOids } from '../../../support/examples/capture.ts';
import { insertOf } from '../../../support/examples/decode-tuple.ts';
import {
  itemsRelation,
  itemTuple,
  ordersRelation,
  orderTuple,
  tupleOf,
  uuid,
} from '../../../support/examples/pgoutput-messages.ts';

const stamp = { topic: 'orders.placed', partitions: 6, generation: 1, timeline: 3 };
const begin: PgoutputMessage = { kind: 'begin', commitLsn: toLsn(100n), committedAt: 5n, xid: 7 };
const commit: PgoutputMessage = { kind: 'commit', commitLsn: toLsn(100n), endLsn: toLsn(130n), committedAt: 5n };
const order = (n: number): PgoutputMessage =>
  insertOf(
    exampleOids.orders,
    orderTuple([uuid(n), `user-${n}`, 'placed', 'cart', 'USD', '1000', '2026-11-20 10:00:00.000001+00']),
  );
const item = (n: number, lineNo: number): PgoutputMessage =>
  insertOf(exampleOids.order_items, itemTuple([uuid(n), String(lineNo), `sku-${lineNo}`, '2', '500', null]));

describe('assembling a transaction', () => {
  let spillDirectory: string;
  beforeAll(() => {
    spillDirectory = mkdtempSync(join(tmpdir(), 'tillstream-test-'));
  });
  afterAll(() => rmSync(spillDirectory, { recursive: true }));

  const assemble = (messages: readonly PgoutputMessage[], spillBytes = 1_000_000, ignored: string[] = []) => {
    const assembler = createTransactionAssembler({
      spillBytes,
      spillDirectory,
      captured: exampleCaptured,
      onIgnored: (reason) => ignored.push(reason),
    });
    const transactions = [ordersRelation, itemsRelation, ...messages].flatMap((message) => {
      const transaction = assembler.accept(message);
      return transaction === undefined ? [] : [transaction];
    });
    assembler.close();
    return transactions;
  };
  const eventsOf = (transaction: CommittedTransaction) => {
    const records = [...transaction.events(stamp)];
    const events = records.map(({ value }) => decodeOrderPlaced(value));
    expect(records.map(({ orderId, ordinal, key }) => [orderId, ordinal, key])).toEqual(
      events.map(({ orderId, ordinal, userId }) => [orderId, ordinal, userId]),
    );
    expect([...transaction.orderIds()]).toEqual(events.map(({ orderId }) => orderId));
    transaction.close();
    return events;
  };

  for (const [how, spillBytes] of [
    ['in memory', 1_000_000],
    ['through the temporary file', 0],
  ] as const) {
    it(`gives one event an order, in insertion order, items by line number, ${how}`, () => {
      const rows = [order(2), order(1), item(1, 2), item(2, 1), item(1, 1), order(3), item(3, 1)];
      const [transaction] = assemble([begin, ...rows, commit], spillBytes);
      expect(transaction).toMatchObject({ commitLsn: 100n, endLsn: 130n, committedAt: 5n, orderCount: 3 });
      const events = eventsOf(transaction!);
      expect(events.map(({ orderId, ordinal, items }) => [orderId, ordinal, items.map((one) => one.lineNo)])).toEqual([
        [uuid(2), 0, [1]],
        [uuid(1), 1, [1, 2]],
        [uuid(3), 2, [1]],
      ]);
      expect(events[0]).toMatchObject({
        generation: stamp.generation,
        timeline: stamp.timeline,
        commitLsn: 100n,
        committedAt: 5n,
        placedAt: BigInt(Date.UTC(2026, 10, 20, 10)) * 1_000n + 1n,
      });
    });

    it(`keeps what is held although others come and go, ${how}`, () => {
      const assembler = createTransactionAssembler({
        spillBytes,
        spillDirectory,
        captured: exampleCaptured,
        onIgnored: () => undefined,
      });
      const held: CommittedTransaction[] = [];
      for (const message of [ordersRelation, itemsRelation]) assembler.accept(message);
      for (let n = 1; n <= 20; n += 1) {
        const rows = Array.from({ length: n }, (_, lineNo) => item(n, lineNo + 1));
        const [transaction] = [begin, order(n), ...rows, commit].flatMap((message) => assembler.accept(message) ?? []);
        if (n % 3 === 0) transaction!.close();
        else {
          transaction!.hold();
          held.push(transaction!);
        }
      }
      const found = held.map((transaction) =>
        eventsOf(transaction).map(({ orderId, items }) => [orderId, items.length]),
      );
      const kept = Array.from({ length: 20 }, (_, index) => index + 1).filter((n) => n % 3 !== 0);
      expect(found).toEqual(kept.map((n) => [[uuid(n), n]]));
      assembler.close();
    });

    it(`takes items that come before their order, as one statement may write them, ${how}`, () => {
      const [transaction] = assemble(
        [begin, item(2, 1), item(1, 1), order(1), order(2), item(1, 2), commit],
        spillBytes,
      );
      expect(eventsOf(transaction!).map(({ orderId, items }) => [orderId, items.length])).toEqual([
        [uuid(2), 1],
        [uuid(1), 2],
      ]);
    });

    it(`halts for an order without items and for an item without its order, ${how}`, () => {
      const [transaction] = assemble([begin, order(1), item(1, 1), order(2), commit], spillBytes);
      expect(() => eventsOf(transaction!)).toThrow(expect.objectContaining({ code: 'ORDER_WITHOUT_ITEMS' }));
      const orphan = () => assemble([begin, order(1), item(1, 1), item(9, 1), commit], spillBytes).map(eventsOf);
      expect(orphan).toThrow(expect.objectContaining({ code: 'ITEM_WITHOUT_ORDER' }));
    });
  }

  it('gives a transaction of 20,000 orders whose items follow them all, by COPY, and leaves no file behind', () => {
    const count = 20_000;
    const orders = Array.from({ length: count }, (_, n) => order(n));
    const items = Array.from({ length: count }, (_, n) => item(count - 1 - n, 1));
    const [transaction] = assemble([begin, ...orders, ...items, commit], 64 * 1024);
    expect(readdirSync(spillDirectory)).toEqual([]);
    expect(transaction!.orderCount).toBe(count);
    let ordinal = 0;
    for (const event of transaction!.events(stamp)) {
      const { items } = decodeOrderPlaced(event.value);
      if (event.orderId !== uuid(ordinal) || event.ordinal !== ordinal || items.length !== 1) {
        throw new Error(`wrong event at ${ordinal}`);
      }
      ordinal += 1;
    }
    expect(ordinal).toBe(count);
    expect([...transaction!.events(stamp)].length).toBe(count);
    transaction!.close();
  });

  it('counts changes of other tables and other kinds, and publishes none of them', () => {
    const ignored: string[] = [];
    const other = { ...ordersRelation, relationOid: 9, name: 'audit' };
    const transactions = assemble(
      [
        begin,
        other,
        insertOf(9, Buffer.alloc(2)),
        { kind: 'update', relationOid: exampleOids.orders },
        { kind: 'delete', relationOid: exampleOids.orders },
        { kind: 'truncate', relationOids: Object.values(exampleOids) },
        { kind: 'type' },
        commit,
      ],
      1_000,
      ignored,
    );
    expect(transactions.map(({ orderCount }) => orderCount)).toEqual([0]);
    expect(ignored).toEqual(['other_table', 'update', 'delete', 'truncate']);
  });

  it('reads rows by the shape that their table had when they were written', () => {
    const wider: PgoutputMessage = {
      ...ordersRelation,
      columns: [{ name: 'note', typeOid: 25, isKey: false }, ...ordersRelation.columns],
    };
    const values = [uuid(2), 'user-2', 'placed', 'cart', 'USD', '7', '2026-11-20 10:00:00+00'];
    const widerRow = ['hello', ...ordersRelation.columns.map((_, index) => values[index] ?? null)];
    const widerOrder: PgoutputMessage = insertOf(exampleOids.orders, tupleOf(widerRow));
    for (const spillBytes of [1_000_000, 0]) {
      const [transaction] = assemble([begin, order(1), item(1, 1), wider, widerOrder, item(2, 1), commit], spillBytes);
      expect(eventsOf(transaction!).map(({ userId, totalCents }) => [userId, totalCents])).toEqual([
        ['user-1', 1000n],
        ['user-2', 7n],
      ]);
    }
  });

  it.each<[string, readonly PgoutputMessage[], string]>([
    ['a row outside a transaction', [order(1)], 'STREAM_OUT_OF_ORDER'],
    ['a row of an unknown table', [begin, insertOf(77, Buffer.alloc(2))], 'STREAM_OUT_OF_ORDER'],
    ['BEGIN inside a transaction', [begin, begin], 'STREAM_OUT_OF_ORDER'],
    ['COMMIT outside a transaction', [commit], 'STREAM_OUT_OF_ORDER'],
    [
      'a row of a table without a contract column',
      [{ ...ordersRelation, columns: ordersRelation.columns.slice(1) }, begin, order(1)],
      'TABLES_CHANGED',
    ],
    [
      'a row of another table under the name',
      [{ ...ordersRelation, relationOid: 9 }, begin, { ...order(1), relationOid: 9 } as PgoutputMessage],
      'TABLES_CHANGED',
    ],
    [
      'a row of the captured table under another name',
      [{ ...ordersRelation, name: 'orders_old' }, begin, order(1)],
      'TABLES_CHANGED',
    ],
  ])('halts for %s', (_, messages, code) => {
    expect(() => assemble(messages)).toThrow(expect.objectContaining({ code }));
  });
});
