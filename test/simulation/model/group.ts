// The consumer group as group-consumer.ts gives it to the sink: partitions come and go with members, a member that was dropped
// learns of it late and meanwhile goes on with its batch, the next fetch comes while the last one is applied, and an offset
// out of range is reported.
import type { FetchedBatch, GroupPartition } from '#kafka/reading/fetched-batch.ts';
import type { GroupConsumer, GroupHandlers } from '#kafka/reading/group-consumer.ts';
import type { Process, World } from '../world.ts';
import { LIVE, type ModelKafka } from './kafka.ts';

interface Fetching extends GroupPartition {
  position: bigint;
  isWaiting: boolean;
}

interface Member {
  readonly process: Process;
  readonly handlers: GroupHandlers;
  /** Replaced as a whole by every assignment; batches of an older one go on. */
  fetching: Map<number, Fetching>;
  isJoined: boolean;
  isClosed: boolean;
}

export class ModelGroup {
  readonly #world: World;
  readonly #kafka: ModelKafka;
  #members: Member[] = [];
  #generation = 0;

  constructor(world: World, kafka: ModelKafka) {
    this.#world = world;
    this.#kafka = kafka;
    kafka.onGrowth.add(() => {
      for (const member of this.#members) for (const fetching of member.fetching.values()) this.#wake(member, fetching);
    });
  }

  join(process: Process, handlers: GroupHandlers): GroupConsumer {
    const member: Member = {
      process,
      handlers,
      fetching: new Map(),
      isJoined: false,
      isClosed: false,
    };
    process.onDeath.push(() => this.#leave(member));
    this.#world.enqueue({ sender: process, label: 'joins the group', run: () => this.#enter(member) });
    return {
      start: (positions) => {
        for (const { topic, partition, offset } of positions) {
          const fetching = { topic, partition, position: offset, isWaiting: false };
          member.fetching.set(partition, fetching);
          this.#fetchLater(member, fetching);
        }
      },
      pause: ({ partition }) => member.fetching.delete(partition), // a halted partition; replays are not simulated
      report: async () => undefined,
      close: async () => {
        member.isClosed = true;
        this.#world.enqueue({ sender: process, label: 'leaves the group', run: () => this.#leave(member) });
      },
    };
  }

  /** A member's session expires, and it learns of it by its next heartbeat. */
  expire(choice: number): boolean {
    const joined = this.#members.filter(({ isJoined }) => isJoined);
    const member = joined[choice % Math.max(1, joined.length)];
    if (member === undefined) return false;
    this.#leave(member);
    const rejoin = (): void => {
      if (member.isClosed) return;
      member.fetching = new Map();
      member.handlers.onRebalancing();
      this.#world.enqueue({ sender: member.process, label: 'joins the group again', run: () => this.#enter(member) });
    };
    this.#world.enqueue({ owner: member.process, label: 'learns that its session has expired', run: rejoin });
    return true;
  }

  /** Every frozen member's session expires. */
  expireFrozen(): void {
    for (let index = 0; index < this.#members.length; index++) {
      if (this.#members[index]!.process.isFrozen) this.expire(index--);
    }
  }

  #enter(member: Member): void {
    if (member.isClosed || !member.process.isAlive || member.isJoined) return;
    member.isJoined = true;
    this.#members.push(member);
    this.#rebalance();
  }

  #leave(member: Member): void {
    if (!member.isJoined) return;
    member.isJoined = false;
    this.#members = this.#members.filter((other) => other !== member);
    this.#rebalance();
  }

  #rebalance(): void {
    const partitions = this.#kafka.topics.get(LIVE)!;
    const generation = ++this.#generation;
    for (const [index, member] of this.#members.entries()) {
      const assigned = partitions
        .filter(({ partition }) => partition % this.#members.length === index)
        .map(({ topic, partition }) => ({ topic, partition }));
      const assign = (): void => {
        if (member.isClosed || !member.isJoined || generation !== this.#generation) return;
        member.fetching = new Map();
        member.handlers.onAssigned(assigned);
      };
      this.#world.enqueue({ owner: member.process, label: `is assigned ${assigned.length} partitions`, run: assign });
    }
  }

  #fetchLater(member: Member, fetching: Fetching): void {
    const run = (): void => this.#fetch(member, fetching);
    this.#world.enqueue({
      owner: member.process,
      label: `fetches [${fetching.partition}] from ${fetching.position}`,
      run,
    });
  }

  #wake(member: Member, fetching: Fetching): void {
    if (!fetching.isWaiting) return;
    fetching.isWaiting = false;
    this.#fetchLater(member, fetching);
  }

  #fetch(member: Member, fetching: Fetching): void {
    if (member.isClosed || member.fetching.get(fetching.partition) !== fetching) return;
    if (this.#world.chance(2)) {
      member.handlers.onFailed(new Error('the fetch failed for good'));
      return;
    }
    const batch = this.#read(fetching);
    if (batch === 'out of range') {
      member.fetching.delete(fetching.partition);
      member.handlers.onOutOfRange(fetching);
    } else if (batch === undefined) {
      fetching.isWaiting = true;
    } else {
      fetching.position = batch.lastOffset + 1n;
      void member.handlers.onBatch(batch).then(() => this.#fetchLater(member, fetching));
    }
  }

  #read(fetching: Fetching): FetchedBatch | 'out of range' | undefined {
    const { topic, partition: number } = fetching;
    const partition = this.#kafka.partition(topic, number);
    const end = this.#kafka.lastStable(partition);
    if (fetching.position < partition.earliest || fetching.position > this.#kafka.end(partition)) {
      this.#world.note(`      … ${fetching.position} is out of range`);
      return 'out of range';
    }
    if (fetching.position >= end) return undefined;
    const most = this.#world.isQuiet ? 1_000n : BigInt(1 + this.#world.draw(8));
    const until = fetching.position + most < end ? fetching.position + most : end;
    const { passed, visible } = this.#kafka.read(partition, fetching.position, until);
    const records = visible.map(({ offset, key, value }) => ({ offset, key, value, headers: {} }));
    return { topic, partition: number, firstOffset: fetching.position, lastOffset: passed.at(-1)!.offset, records };
  }
}
