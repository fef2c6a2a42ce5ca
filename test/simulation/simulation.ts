// One run: two readers and two sinks over the models, a warm-up or a first start, then as many random steps and events as
// the tape holds, then quiet, in which all that is left must drain within a bound (I8). What happens to them is chaos.ts's,
// whether it was right judge-*.ts's. No real time passes, and no real timer runs.
import type { HaltError } from '#service/halt.ts';
import { makeTrouble, placeOrders, users, useShop } from './chaos.ts';
import { type Gap, gaps } from './gaps.ts';
import { demand, readRecordedLsn } from './judge-log.ts';
import { ModelCarts } from './model/carts.ts';
import { ModelGroup } from './model/group.ts';
import { LIVE, ModelKafka } from './model/kafka.ts';
import { ModelPostgres, type PlacedOrder } from './model/postgres.ts';
import { type Models, type Service, setStage, startReader, startSink } from './services.ts';
import { World } from './world.ts';

const PARTITIONS = 2;
/** A takeover, a start and the longest back-offs are some 20 s of simulated time; after a halt the others need no more. */
const DRAIN_LIMIT_MS = 60_000;
const DRAIN_LIMIT_STEPS = 20_000;
/** Of 256 turns of the tape: so many run a step, the next ones let time pass, users do something, or there is trouble. */
const STEP_TURNS = 204;
const TIME_TURNS = 218;
const USER_TURNS = 236;

export interface Scenario {
  readonly tape: Uint8Array;
  /** Of 256 operations of theirs with other machines, how many fail. */
  readonly faults: Readonly<Record<Service['kind'], number>>;
  /** Of 256 occasions for a crash, a stop, a restart or a failover, how many are taken. */
  readonly trouble: number;
  /** Whether everything streams already when the tape begins. */
  readonly isWarm: boolean;
  /** A gap that no program can mend, and after how many turns it is made. */
  readonly gap?: { readonly kind: Gap; readonly atTurn: number };
}

export class Simulation implements Models {
  readonly world: World;
  readonly postgres: ModelPostgres;
  readonly kafka: ModelKafka;
  readonly group: ModelGroup;
  readonly carts: ModelCarts;
  readonly services: Service[] = [];
  /** Every order that was ever committed, whatever became of its database. */
  readonly placed = new Map<string, PlacedOrder>();
  readonly halts: { readonly who: string; readonly error: HaltError }[] = [];
  /** Whether the gap has destroyed what was published before. */
  isLogLost = false;
  /** What had been committed when the gap was made. */
  ordersAtGap: readonly PlacedOrder[] | undefined;
  readonly scenario: Scenario;
  #incarnations = 0;

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    this.world = new World(scenario.tape);
    this.postgres = new ModelPostgres(this.world);
    this.kafka = new ModelKafka(this.world, PARTITIONS);
    this.group = new ModelGroup(this.world, this.kafka);
    this.carts = new ModelCarts(this.world);
  }

  start(kind: Service['kind']): void {
    const name = `${kind} ${++this.#incarnations}`;
    const onHalt = (error: HaltError) => this.halts.push({ who: kind, error });
    this.services.push((kind === 'reader' ? startReader : startSink)(this, name, this.scenario.faults[kind], onHalt));
  }

  /** Ends a process, cleanly or not, and starts another in its place. */
  replace(service: Service): void {
    this.world.kill(service.process);
    this.services.splice(this.services.indexOf(service), 1);
    this.start(service.kind);
  }

  async run(): Promise<void> {
    const { world, postgres } = this;
    const { trouble, isWarm, gap } = this.scenario;
    setStage(this);
    for (let n = 0; n < 3; n++) placeOrders(this, 1, 0);
    postgres.writeOther(16);
    for (const kind of ['reader', 'sink', 'reader', 'sink'] as const) this.start(kind);
    if (isWarm) await this.#drain('warm up');
    world.isArmed = true;
    for (let turn = 0; !world.isQuiet; turn++) {
      if (turn === gap?.atTurn) this.#makeGap(gap.kind);
      const choice = world.draw(256);
      if (choice < STEP_TURNS && world.step(choice)) await world.settle();
      else if (choice < TIME_TURNS) world.advance();
      else if (choice < USER_TURNS) useShop(this);
      else if (world.chance(trouble)) makeTrouble(this);
    }
    if (gap !== undefined) {
      if (this.ordersAtGap === undefined) this.#makeGap(gap.kind);
    }
    // A gap shows when there is something to publish or to apply.
    if (gap !== undefined) placeOrders(this, users.length, 0);
    for (const { process } of this.services) process.isFrozen = false;
    await this.#drain('drain');
  }

  #makeGap(kind: Gap): void {
    this.ordersAtGap = this.postgres.wal.flatMap(({ orders }) => orders);
    this.world.current = null;
    this.world.note(`*** GAP: ${kind}`);
    gaps[kind].make(this);
  }

  async #drain(what: string): Promise<void> {
    const { world } = this;
    const untilMs = world.nowMs + DRAIN_LIMIT_MS;
    const untilStep = world.stepsTaken + DRAIN_LIMIT_STEPS;
    world.note(`=== ${what} ===`);
    while (!this.#isDrained()) {
      if (world.step(0)) await world.settle();
      else if (!world.advance()) {
        demand(this.halts.length > 0, () => 'I8: nothing happens any more');
        return;
      }
      if (this.halts.length > 0 && this.scenario.gap === undefined) return;
      if (world.stepsTaken > untilStep) throw new Error('I8: it goes in circles');
      if (world.nowMs < untilMs) continue;
      if (this.halts.length > 0) return;
      throw new Error(`I8: it did not ${what} within ${DRAIN_LIMIT_MS} ms`);
    }
  }

  /** Whether the slot has seen all transactions, and the sinks all that Kafka holds in the partitions that have not halted. */
  #isDrained(): boolean {
    const { postgres, kafka, carts } = this;
    const end = postgres.wal.at(-1)?.endLsn ?? 0n;
    if (postgres.slot === null || postgres.slot.confirmedLsn < end) return false;
    const halted = this.halts.flatMap(({ error }) => (error.scope === 'partition' ? [error.details.partition] : []));
    const areApplied = kafka.topics.get(LIVE)!.every((partition) => {
      if (halted.includes(String(partition.partition))) return true;
      const row = carts.tables.offsets.get(`offset ${LIVE}[${partition.partition}]`);
      return (row?.next_offset ?? 0n) === kafka.end(partition);
    });
    return areApplied && readRecordedLsn(kafka) >= end;
  }
}
