// The reader's connections to the model of Postgres, with the very interfaces of the real ones: the stream (messages in
// commit order, keepalives between and inside transactions, back-pressure), the session beside it, and the slot's
// beginning with its snapshot. Deliveries are steps: the tape decides how much comes before anything else happens.

import type { ContractRow, ContractTable } from '#schemas/contract-tables.ts';
import { LSN_ZERO, type Lsn, toLsn } from '#schemas/lsn.ts';
import type { PgoutputMessage } from '../../../cdc-reader/postgres/pgoutput.ts';
import type { ReplicationStream, StreamHandlers } from '../../../cdc-reader/postgres/replication-stream.ts';
import { SlotLostError } from '../../../cdc-reader/postgres/slots/slot-lost.ts';
import type { SnapshotOrder } from '../../../cdc-reader/postgres/snapshot.ts';
import type { SlotState } from '../../../cdc-reader/postgres/source-session.ts';
import { SlotBusyError, SlotMissingError, StreamLostError } from '../../../cdc-reader/postgres/stream-errors.ts';
import { exampleOids, visibleCapture } from '../../support/examples/capture.ts';
import { insertOf } from '../../support/examples/decode-tuple.ts';
import {
  itemsRelation,
  itemTuple,
  ordersRelation,
  orderTuple,
  type RelationMessage,
} from '../../support/examples/pgoutput-messages.ts';
import { goodFacts } from '../../support/examples/preflight-facts.ts';
import type { Process } from '../world.ts';
import type { Commit, ModelPostgres, PlacedItem, PlacedOrder } from './postgres.ts';

const PLACED_AT = '2026-11-20 10:00:00+00';
const KEEPALIVE_EVERY_MS = 1_000;
const lost = () => new StreamLostError('the connection broke');

type Delivery =
  | PgoutputMessage
  | { readonly kind: 'keepalive'; readonly walEnd: Lsn; readonly replyRequested: boolean };

const orderRow = ({ orderId, userId, source }: PlacedOrder) =>
  [orderId, userId, 'placed', source, 'USD', '5', PLACED_AT] as const;
const itemRow = (orderId: string, { lineNo, sku, quantity, cartLineId }: PlacedItem) =>
  [orderId, String(lineNo), sku, String(quantity), '5', cartLineId] as const;

export function formatOrder(order: PlacedOrder): SnapshotOrder {
  const named = <T extends ContractTable>(names: readonly string[], values: readonly (string | null)[]) =>
    Object.fromEntries(names.map((name, index) => [name, values[index] ?? null])) as ContractRow<T>;
  const names = (relation: RelationMessage) => relation.columns.map(({ name }) => name);
  return {
    order: named<'orders'>(names(ordersRelation), orderRow(order)),
    items: order.items.map((item) => named<'order_items'>(names(itemsRelation), itemRow(order.orderId, item))),
  };
}

function messagesOf({ commitLsn, endLsn, orders, isHidden }: Commit, isFirst: boolean): PgoutputMessage[] {
  const rows = (isHidden ? [] : orders).flatMap((order): PgoutputMessage[] => [
    insertOf(exampleOids.orders, orderTuple(orderRow(order))),
    ...order.items.map((item) => insertOf(exampleOids.order_items, itemTuple(itemRow(order.orderId, item)))),
  ]);
  const committedAt = commitLsn;
  return [
    { kind: 'begin', commitLsn, committedAt, xid: 7 },
    ...(isFirst ? [ordersRelation, itemsRelation] : []),
    ...rows,
    { kind: 'commit', commitLsn, endLsn, committedAt },
  ];
}

export function openStream(postgres: ModelPostgres, process: Process, handlers: StreamHandlers): ReplicationStream {
  const { world, slot } = postgres;
  if (slot === null) throw new SlotMissingError('tillstream');
  if (slot.isLost) {
    const found = {
      reason: 'wal_removed',
      throughLsn: toLsn(slot.confirmedLsn),
      flushLsn: toLsn(postgres.end),
    } as const;
    throw new SlotLostError('tillstream', { ...found, what: 'acknowledged' });
  }
  if (slot.holder !== null) throw new SlotBusyError('tillstream', undefined);
  const startLsn = slot.confirmedLsn;
  const queue: Delivery[] = [];
  let cursor = 0;
  /** The place in the log that the server has read up to. */
  let sentLsn: bigint = startLsn;
  let toldLsn = 0n;
  let isFirst = true;
  let isPaused = true;
  let isScheduled = false;
  let isKeepaliveDue = false;
  let acknowledgedLsn: Lsn = LSN_ZERO;

  const keepalive = (): Extract<Delivery, { kind: 'keepalive' }> => {
    isKeepaliveDue = false;
    toldLsn = sentLsn;
    return { kind: 'keepalive', walEnd: toLsn(sentLsn), replyRequested: !world.isQuiet && sentLsn % 4n === 0n };
  };
  const next = (): Delivery | undefined => {
    if (queue.length > 0) {
      const message = queue.shift()!;
      if (message.kind === 'commit') sentLsn = message.endLsn;
      return message;
    }
    for (; cursor < postgres.wal.length; cursor++) {
      const commit = postgres.wal[cursor]!;
      if (commit.commitLsn < startLsn) continue;
      sentLsn = commit.commitLsn;
      if (!commit.isStreamed) {
        sentLsn = commit.endLsn;
        continue;
      }
      cursor += 1;
      queue.push(...messagesOf(commit, isFirst));
      isFirst = false;
      return queue.shift();
    }
    if (postgres.end > sentLsn) sentLsn = postgres.end;
    return sentLsn > toldLsn || isKeepaliveDue ? keepalive() : undefined;
  };
  const deliver = (): void => {
    isScheduled = false;
    const most = world.isQuiet ? 1_000 : 1 + world.draw(32);
    for (let left = most; left > 0; left--) {
      if (!connection.isOpen || isPaused) return;
      if (left === 1 && most % 3 === 0) handlers.onKeepalive(keepalive());
      const message = next();
      if (message === undefined) return;
      if (message.kind === 'keepalive') handlers.onKeepalive(message);
      else handlers.onMessage(message);
    }
    schedule();
  };
  const schedule = (): void => {
    if (isScheduled || isPaused || !connection.isOpen) return;
    isScheduled = true;
    connection.tell('the stream brings more', deliver);
  };
  const keepAlive = (): void => {
    isKeepaliveDue = true;
    schedule();
    keepAliveLater();
  };
  const keepAliveLater = (): void =>
    world.after(KEEPALIVE_EVERY_MS, 'keepalive', keepAlive, { isOff: () => !connection.isOpen });
  const connection = postgres.connect(process, (error) => {
    postgres.onGrowth.delete(schedule);
    if (error !== undefined) connection.tell('the stream has ended', () => handlers.onFailure(error));
  });
  slot.holder = connection;
  postgres.onGrowth.add(schedule);
  keepAliveLater();

  const { systemIdentifier, timeline, history, end } = postgres;
  return {
    identity: { systemIdentifier, database: 'shop', timeline, history, flushLsn: toLsn(end), serverVersion: 180_000 },
    pause: () => {
      isPaused = true;
    },
    resume: () => {
      isPaused = false;
      schedule();
    },
    acknowledge(throughLsn) {
      if (throughLsn < acknowledgedLsn) throw new RangeError('An acknowledgement never goes back');
      acknowledgedLsn = throughLsn;
      const run = (): void => {
        if (connection.isOpen && postgres.slot?.holder === connection) postgres.confirm(throughLsn);
      };
      world.enqueue({ sender: process, label: `acknowledges ${throughLsn}`, run });
    },
    get acknowledgedLsn() {
      return acknowledgedLsn;
    },
    close: () => world.close('closes the stream', () => connection.end(undefined)),
  };
}

export function openSession(postgres: ModelPostgres, process: Process, onEnd: (error: Error) => void) {
  const { world } = postgres;
  const connection = postgres.connect(process, (error) => {
    if (error !== undefined) connection.tell('the session has ended', () => onEnd(error));
  });
  const read = <T>(label: string, effect: () => T): Promise<T> =>
    world.read(
      label,
      () => {
        if (!connection.isOpen) throw lost();
        return effect();
      },
      lost,
    );
  return {
    readSlot: () => read('reads the slot', () => readSlot(postgres)),
    roleName: 'reader',
    readCapture: () => read('reads who the captured tables are', () => visibleCapture(postgres.capture)),
    awaitVisible: () => read('waits until a transaction is visible', () => undefined),
    readTableNames: () => read('reads what the tables are called', () => new Map()),
    readCurrentWal: () =>
      read('reads the end of the log', () => ({
        flushLsn: toLsn(postgres.end),
        timeline: postgres.timeline,
        inRecovery: false,
      })),
    orderExists: (ids: readonly string[]) =>
      read('looks for the last order', () => {
        const there = new Set(postgres.wal.flatMap(({ orders }) => orders.map(({ orderId }) => orderId)));
        return new Set(ids.filter((id) => there.has(id)));
      }),
    preflightFacts: async () => ({ ...goodFacts, capture: visibleCapture(postgres.capture) }),
    tryAdvisoryLock: () =>
      read('tries the lock of the first start', () => {
        postgres.lockHolder ??= connection;
        return postgres.lockHolder === connection;
      }),
    estimateOrders: () => read('estimates the orders', () => null),
    describeLockHolder: () => read('asks who has the lock', () => ''),
    // In the model a slot is made at once: none is left unfinished.
    endUnfinishedSlot: () => read('ends the making of a slot', () => undefined),
    close: () => world.close('closes the session', () => connection.end(undefined)),
  };
}

function readSlot({ slot }: ModelPostgres): SlotState | null {
  if (slot === null) return null;
  return {
    plugin: 'pgoutput',
    database: 'shop',
    active: slot.holder !== null,
    activePid: null,
    confirmedFlushLsn: toLsn(slot.confirmedLsn),
    restartLsn: null,
    walStatus: slot.isLost ? 'lost' : 'reserved',
    invalidationReason: slot.isLost ? 'wal_removed' : null,
    temporary: false,
    failover: true,
    synced: false,
    sentLsn: null,
    retainedBytes: null,
  } as SlotState;
}
