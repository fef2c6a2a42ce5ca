// The whole schedule of a torture run from a seed: which fault strikes when, whom, and for how long, and which orders and
// cart edits are made meanwhile. Pure: the same seed, minutes and classes give the same schedule, on any machine (only
// where replays begin is a share of the positions that the run has seen until then). Times are "not before": a fault that
// takes longer than planned pushes back those behind it, never their order or kind. One in three has company: a second
// fault, of another part of the pipeline, strikes while it lasts. Load and faults draw from numbers of their own, so that
// leaving out classes leaves the load as it was.
import { createRandom } from '../../dev/process/seeded-random.ts';

/**
 * A reader, B sink, C Kafka, D orders Postgres, E carts Postgres, F zombies, G pressure, K what the captured tables are,
 * what the reader may see of them, and what others set, and replays.
 */
export const faultClasses = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'K', 'replay'] as const;
export type FaultClass = (typeof faultClasses)[number];

/** What can be done in each class, with the range of time in milliseconds that it lasts. */
const kinds = {
  'reader-kill': { class: 'A', lastsMs: [0, 4_000] },
  'reader-pause': { class: 'A', lastsMs: [2_500, 8_000] }, // beyond wal_sender_timeout
  'sink-kill': { class: 'B', lastsMs: [0, 5_000] },
  'sink-pause': { class: 'B', lastsMs: [1_000, 5_000] }, // within its session
  'broker-kill': { class: 'C', lastsMs: [500, 5_000] },
  'brokers-rolling': { class: 'C', lastsMs: [500, 1_500] }, // between two brokers
  'reader-partition': { class: 'C', lastsMs: [1_000, 9_000] },
  'broker-hang': { class: 'C', lastsMs: [1_000, 8_000] },
  'stranger-transaction': { class: 'C', lastsMs: [1_000, 6_000] },
  'orders-fast-restart': { class: 'D', lastsMs: [0, 3_000] },
  'orders-immediate-restart': { class: 'D', lastsMs: [0, 3_000] },
  'orders-kill': { class: 'D', lastsMs: [0, 3_000] },
  'walsender-terminated': { class: 'D', lastsMs: [0, 0] },
  'long-transaction': { class: 'D', lastsMs: [3_000, 9_000] },
  'orders-silent': { class: 'D', lastsMs: [1_000, 9_000] },
  'carts-restart': { class: 'E', lastsMs: [0, 4_000] },
  'carts-kill': { class: 'E', lastsMs: [0, 3_000] },
  'carts-lock': { class: 'E', lastsMs: [1_000, 6_000] },
  'carts-terminated': { class: 'E', lastsMs: [0, 0] },
  'carts-latency': { class: 'E', lastsMs: [3_000, 8_000] },
  'carts-silent': { class: 'E', lastsMs: [1_000, 9_000] },
  'readers-together': { class: 'F', lastsMs: [0, 1_000] },
  'reader-zombie': { class: 'F', lastsMs: [0, 1_500] }, // after its successor took over
  'sink-zombie': { class: 'F', lastsMs: [0, 1_500] },
  burst: { class: 'G', lastsMs: [4_000, 6_000] },
  'big-copy': { class: 'G', lastsMs: [0, 0] },
  'sinks-paused': { class: 'G', lastsMs: [20_000, 20_000] },
  'tables-renamed': { class: 'K', lastsMs: [0, 4_000] }, // then back, and the readers' halt is repaired
  'tables-swapped': { class: 'K', lastsMs: [2_000, 5_000] }, // after the readers' halt, and then repaired
  'policy-added': { class: 'K', lastsMs: [2_000, 9_000] },
  'privilege-lost': { class: 'K', lastsMs: [2_000, 9_000] },
  'topic-compressed': { class: 'K', lastsMs: [2_000, 9_000] },
  'sessions-preset': { class: 'K', lastsMs: [2_000, 9_000] },
  'spill-disk-full': { class: 'K', lastsMs: [0, 4_000] }, // after a takeover
  replay: { class: 'replay', lastsMs: [0, 0] },
  'replay-killed': { class: 'replay', lastsMs: [0, 1_500] }, // that long after it has begun, then resumed
} as const satisfies Record<string, { class: FaultClass; lastsMs: readonly [number, number] }>;

export type FaultKind = keyof typeof kinds;

export interface Fault {
  /** Not before, from the start of the run. */
  readonly atMs: number;
  readonly class: FaultClass;
  readonly kind: FaultKind;
  readonly lastsMs: number;
  /** Which of several processes, modulo their number; readers: 0 to 3 the active one, 4 the standby. */
  readonly target: number;
  /** Which of the ways of doing it, 0 to 1. */
  readonly variant: number;
  /** The orders that it places itself, by number. */
  readonly orders: OrderNumbers;
  /** Strikes while this one lasts; has none itself. */
  readonly company?: Fault;
}

interface OrderNumbers {
  readonly first: number;
  readonly count: number;
}

export type LoadStep =
  | (OrderNumbers & {
      readonly atMs: number;
      readonly kind: 'single' | 'multi-row' | 'copy' | 'savepoints' | 'side-by-side' | 'direct';
    })
  | {
      readonly atMs: number;
      readonly kind: 'add' | 'change' | 'remove';
      readonly user: number;
      readonly sku: number;
      readonly quantity: number;
      /** A sink's cart API, or SQL as another writer would. */
      readonly through: 0 | 1 | 'sql';
    };

export interface TorturePlan {
  readonly seed: number;
  readonly endMs: number;
  readonly faults: readonly Fault[];
  readonly load: readonly LoadStep[];
  /** How many order numbers are used, from 0. */
  readonly orders: number;
}

/** Users, and SKUs of each. Additions go to all SKUs, changes and removals by users only to those from `editedSkus` on. */
export const cartShape = { users: 400, itemsPerOrder: 3, skusPerUser: 10, editedSkus: 8 } as const;
const burstOrders = 1_500;
const copiedOrders = 20_000;
/** Beyond the readers' SPILL_BYTES several times. */
const spilledOrders = 2_000;

const quietStartMs = 2_000;
const stepEveryMs = [150, 650] as const;
const pauseMs = [1_000, 8_000] as const;
/** Beside its own time: what a process takes to start, roughly. */
const overheadMs = 3_000;
/** To halt, adopt, start again, replay from the tables and audit. */
const repairMs = 20_000;

/** Makes the whole schedule. `seed`: a whole number from 0 to 2^32 - 1. */
export function planTorture(seed: number, minutes: number, classes: readonly FaultClass[]): TorturePlan {
  const endMs = Math.round(minutes * 60_000);
  const { load, orders } = planLoad(createChoices(seed), endMs);
  return { seed, endMs, load, ...planFaults(createChoices(seed ^ 0x5eed_fa17), endMs, classes, orders) };
}

function planLoad(random: Random, endMs: number): { load: LoadStep[]; orders: number } {
  const load: LoadStep[] = [];
  let orders = 0;
  const place = (atMs: number, kind: Extract<LoadStep, OrderNumbers>['kind'], count: number) => {
    load.push({ atMs, kind, first: orders, count });
    orders += count;
  };
  for (let atMs = 0; atMs < endMs; atMs += random.integer(...stepEveryMs)) {
    const dice = random.integer(1, 100);
    if (dice <= 30) place(atMs, 'single', random.integer(1, 12));
    else if (dice <= 40) place(atMs, 'multi-row', random.integer(2, 40));
    else if (dice <= 44) place(atMs, 'copy', random.integer(20, 150));
    else if (dice <= 52) place(atMs, 'savepoints', 3);
    else if (dice <= 60) place(atMs, 'side-by-side', random.integer(2, 4));
    else if (dice <= 65) place(atMs, 'direct', random.integer(1, 3));
    else load.push(planEdit(random, atMs, dice));
  }
  return { load, orders };
}

function planEdit(random: Random, atMs: number, dice: number): LoadStep {
  const kind = dice <= 92 ? 'add' : dice <= 96 ? 'change' : 'remove';
  const { users, skusPerUser, editedSkus } = cartShape;
  return {
    atMs,
    kind,
    user: random.integer(0, users - 1),
    sku: random.integer(kind === 'add' ? 0 : editedSkus, skusPerUser - 1),
    quantity: random.integer(1, 5),
    through: random.pick([0, 1, 'sql'] as const),
  };
}

/**
 * What may strike beside a fault of each class: another part than the one that it breaks, or that must be there for it. A
 * zombie's successor must not be killed, a replay must come to its proof, and what stops all sinks has them to itself. K has
 * only the side of the carts beside it, since nothing else may stop or repair a reader meanwhile.
 */
const companyOf: Readonly<Record<FaultClass, readonly FaultClass[]>> = {
  A: ['B', 'C', 'D', 'E'],
  B: ['A', 'C', 'D', 'E'],
  C: ['A', 'B', 'D', 'E'],
  D: ['A', 'B', 'C', 'E'],
  E: ['A', 'B', 'C', 'D'],
  F: ['C', 'D', 'E'],
  G: ['A', 'C', 'D', 'E'],
  K: ['B', 'E'],
  replay: [],
};
/** What an operator has to repair, with nothing else that is broken. */
const solitary: ReadonlySet<FaultKind> = new Set(['tables-renamed', 'tables-swapped']);
const companyShare = 1 / 3;
/** A fault that is over at once leaves this long for its company to strike into what it has done. */
const aftermathMs = 1_000;
const ordersPlacedBy: Partial<Record<FaultKind, number>> = {
  burst: burstOrders,
  'big-copy': copiedOrders,
  'long-transaction': 1,
  'spill-disk-full': spilledOrders,
};

/** Kinds are drawn like cards, so that each comes before any comes twice. */
function planFaults(random: Random, endMs: number, classes: readonly FaultClass[], ordersBefore: number) {
  const names = Object.keys(kinds) as FaultKind[];
  const allowed = names.filter((kind) => classes.includes(kinds[kind].class));
  const faults: Fault[] = [];
  let orders = ordersBefore;
  let deck: FaultKind[] = [];
  const draw = (kind: FaultKind, atMs: number): Fault => {
    const [least, most] = kinds[kind].lastsMs;
    const lastsMs = random.integer(least, most);
    const [target, variant] = [random.integer(0, 4), random.share()];
    const own = { first: orders, count: ordersPlacedBy[kind] ?? 0 };
    orders += own.count;
    return { atMs, class: kinds[kind].class, kind, lastsMs, target, variant, orders: own };
  };
  for (let atMs = quietStartMs + random.integer(...pauseMs); atMs < endMs && allowed.length > 0; ) {
    if (deck.length === 0) deck = random.shuffle(allowed);
    const fault = draw(deck.pop()!, atMs);
    const isSolitary = solitary.has(fault.kind);
    const companions = allowed.filter((kind) => !isSolitary && companyOf[fault.class].includes(kinds[kind].class));
    const isAccompanied = random.share() < companyShare && companions.length > 0;
    const afterMs = random.integer(0, fault.lastsMs + aftermathMs);
    const company = isAccompanied ? draw(random.pick(companions), atMs + afterMs) : undefined;
    faults.push(company === undefined ? fault : { ...fault, company });
    const wholeMs = Math.max(fault.lastsMs, company === undefined ? 0 : afterMs + company.lastsMs);
    atMs += wholeMs + overheadMs + (isSolitary ? repairMs : 0) + random.integer(...pauseMs);
  }
  return { faults, orders };
}

interface Random {
  /** From 0 to below 1. */
  share(): number;
  /** Both ends included. */
  integer(least: number, most: number): number;
  pick<T>(values: readonly T[]): T;
  shuffle<T>(values: readonly T[]): T[];
}

function createChoices(seed: number): Random {
  const share = createRandom(seed);
  const integer = (least: number, most: number) => least + Math.floor(share() * (most - least + 1));
  return {
    share,
    integer,
    pick: (values) => values[integer(0, values.length - 1)]!,
    shuffle(values) {
      const shuffled = [...values];
      for (let index = shuffled.length - 1; index > 0; index -= 1) {
        const other = integer(0, index);
        [shuffled[index], shuffled[other]] = [shuffled[other]!, shuffled[index]!];
      }
      return shuffled;
    },
  };
}
