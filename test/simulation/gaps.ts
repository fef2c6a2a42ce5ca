// What no program can mend (I11): each is made once, at some moment of a run, and names the halts that it may end in. One
// that loses nothing at that moment may just as well pass unnoticed: then everything must be complete, as ever.

import { toLsn } from '#schemas/lsn.ts';
import { exampleCapture, exampleTable } from '../support/examples/capture.ts';
import { encodeOrderPlaced } from '../support/examples/encode-order-placed.ts';
import { uuid } from '../support/examples/pgoutput-messages.ts';
import { createEvent } from '../support/examples/sink-events.ts';
import { placeOrders } from './chaos.ts';
import { CHECKPOINTS, type Entry, LIVE } from './model/kafka.ts';
import type { Simulation } from './simulation.ts';

interface GapKind {
  /** The codes of the halts that it may end in. */
  readonly halts: readonly string[];
  make(simulation: Simulation): void;
}

/** Of nobody's order, at a position before every other. */
const FOREIGN_ORDER = uuid(900_000);

/** Some place in the log where a record begins, and the slot exists. */
const drawLsn = ({ world, postgres }: Simulation): bigint => {
  const { wal, leastBranchLsn, end } = postgres;
  const drawn = end - BigInt((world.draw(256) * 2) % Number(end - leastBranchLsn + 1n));
  return wal.find(({ commitLsn, endLsn }) => commitLsn < drawn && drawn < endLsn)?.commitLsn ?? drawn;
};

const kinds = {
  'the slot is dropped': {
    halts: ['SLOT_DROPPED'],
    make({ postgres }) {
      postgres.endConnections('the slot was dropped');
      postgres.slot = null;
    },
  },
  'the slot is dropped and created again': {
    halts: ['SLOT_AHEAD'],
    make({ postgres }) {
      postgres.endConnections('the slot was dropped');
      if (postgres.slot !== null) postgres.createSlot();
    },
  },
  'the slot is advanced by hand': {
    halts: ['SLOT_AHEAD'],
    make(simulation) {
      const { slot } = simulation.postgres;
      simulation.postgres.endConnections('somebody else took the slot');
      const to = drawLsn(simulation);
      if (slot !== null && to > slot.confirmedLsn) slot.confirmedLsn = slot.storedLsn = to;
    },
  },
  'the slot is invalidated': {
    halts: ['SLOT_LOST'],
    make({ postgres }) {
      postgres.endConnections('the slot was invalidated');
      if (postgres.slot !== null) postgres.slot.isLost = true;
    },
  },
  'the publication loses a table for one transaction': {
    halts: ['PUBLICATION_CHANGED'],
    make(simulation) {
      placeOrders(simulation, 1, 0);
      const { postgres } = simulation;
      postgres.hide(postgres.wal.at(-1)!);
      const { publication } = postgres.capture;
      postgres.capture = exampleCapture({ publication: { ...publication!, xmin: '900' } });
    },
  },
  'the orders table is renamed and back for one transaction': {
    halts: ['TABLES_CHANGED'],
    make(simulation) {
      placeOrders(simulation, 1, 0);
      const { postgres } = simulation;
      postgres.hide(postgres.wal.at(-1)!);
      const rowType = { ...exampleTable('orders').rowType, xmin: '900' };
      const tables = { ...postgres.capture.tables, orders: exampleTable('orders', { rowType }) };
      postgres.capture = { ...postgres.capture, tables };
    },
  },
  'another cluster answers under the same name': {
    halts: ['SOURCE_CHANGED'],
    make({ postgres }) {
      postgres.endConnections('the name leads elsewhere');
      postgres.systemIdentifier = '9999';
    },
  },
  'a standby is promoted that lacks transactions': {
    halts: ['TIMELINE_FORKED'],
    make: (simulation) => simulation.postgres.promote(drawLsn(simulation)),
  },
  'a copy of the files is restored': {
    halts: ['SERVER_BEHIND', 'CONTENTS_DIFFER', 'TIMELINE_FORKED'],
    make(simulation) {
      const { postgres } = simulation;
      postgres.restoreFiles(drawLsn(simulation));
      if (simulation.world.chance(128)) postgres.writeOther(1_024);
    },
  },
  'the live topic is deleted and created anew': {
    halts: ['LIVE_TOPIC_CHANGED', 'OFFSET_BEYOND_END', 'OFFSET_WENT_BACK', 'RECORDS_LOST', 'POSITION_WENT_BACK'],
    make(simulation) {
      const { kafka } = simulation;
      const isWritten = ({ transaction }: Entry) => transaction.outcome === 'committed';
      simulation.isLogLost = kafka.topics.get(LIVE)!.some(({ entries }) => entries.some(isWritten));
      kafka.recreate(LIVE);
    },
  },
  'the checkpoint topic is deleted and created anew': {
    halts: ['CHECKPOINT_MISSING', 'LIVE_TOPIC_CHANGED'],
    make: ({ kafka }) => kafka.recreate(CHECKPOINTS),
  },
  'retention passes what the sinks have applied': {
    halts: ['RECORDS_LOST'],
    make({ world, kafka, carts }) {
      for (const partition of kafka.topics.get(LIVE)!) {
        const applied = carts.tables.offsets.get(`offset ${LIVE}[${partition.partition}]`)?.next_offset ?? 0n;
        const stable = kafka.lastStable(partition);
        const to = world.chance(128) ? applied + BigInt(world.draw(6)) : stable;
        kafka.deleteBefore(partition, to < stable ? to : stable);
      }
    },
  },
  'something else writes to the live topic': {
    halts: ['POSITION_WENT_BACK', 'LIVE_TOPIC_CHANGED'],
    make({ kafka, carts }) {
      for (const { partition, last_commit_lsn } of carts.tables.offsets.values()) {
        if (last_commit_lsn === null) continue;
        const event = createEvent({ orderId: FOREIGN_ORDER, commitLsn: toLsn(1n), committedAt: 0n, placedAt: 0n });
        const value = encodeOrderPlaced(event);
        return kafka.writeForeign(kafka.partition(LIVE, partition), Buffer.from(event.userId), value);
      }
    },
  },
} satisfies Record<string, GapKind>;

export type Gap = keyof typeof kinds;
export const gaps: Readonly<Record<Gap, GapKind>> = kinds;
export const gapNames = Object.keys(kinds) as Gap[];
