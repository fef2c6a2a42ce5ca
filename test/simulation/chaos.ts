// What happens around the services while the tape lasts: users, neighbours, crashes, stops and continuations of processes,
// fast restarts of servers, failovers that lose nothing. Each passes by itself, so none may be the reason of a halt.
import { uuid } from '../support/examples/pgoutput-messages.ts';
import type { PlacedItem } from './model/postgres.ts';
import type { Simulation } from './simulation.ts';

export const users = ['ada', 'bob', 'cyd', 'dan'];
const skus = ['tea', 'cup'];
/** More than a group may hold, so that it goes out in several sends. */
const HUGE = 8;

/** One database transaction of `count` orders; what they order is the tape's. */
export function placeOrders(simulation: Simulation, count: number, gapBytes: number): void {
  const { world, postgres, placed, carts } = simulation;
  const lines = [...carts.tables.lines.keys()];
  const orders = Array.from({ length: count }, (_, n) => {
    const items = Array.from({ length: 1 + world.draw(2) }, (_, index): PlacedItem => {
      const named = world.draw(3) === 1 ? (lines[world.draw(lines.length || 1)] ?? null) : null;
      return { lineNo: index + 1, sku: skus[world.draw(2)]!, quantity: 1 + world.draw(3), cartLineId: named };
    });
    const userId = users[(n + world.draw(4)) % users.length]!;
    const order = { orderId: uuid(placed.size), userId, source: world.chance(32) ? 'direct' : 'cart', items };
    placed.set(order.orderId, order);
    return order;
  });
  postgres.commit(orders, gapBytes);
  world.note(`A transaction of ${count} orders commits at ${postgres.wal.at(-1)!.commitLsn}.`);
}

type Happening = readonly [weight: number, name: string, make: (simulation: Simulation) => void];

const usual: readonly Happening[] = [
  [
    6,
    'orders',
    (simulation) => {
      const { world } = simulation;
      placeOrders(simulation, world.chance(80) ? HUGE : 1 + world.draw(3), 8 * world.draw(3));
    },
  ],
  [2, 'another transaction', ({ world, postgres }) => postgres.commit([], 8 * world.draw(2), world.chance(128))],
  [2, 'a busy neighbour', ({ world, postgres }) => postgres.writeOther(1 + world.draw(64))],
  [
    4,
    'goods are added',
    ({ world, carts }) => carts.addGoods(users[world.draw(4)]!, skus[world.draw(2)]!, 1 + world.draw(5)),
  ],
];

const troubles: readonly Happening[] = [
  [3, 'a crash', (simulation) => simulation.replace(pick(simulation))],
  [
    1,
    'a clean stop',
    (simulation) => {
      const service = pick(simulation);
      const { process } = service;
      const run = (): void => {
        service.close?.().then(() => {
          const gone = (): void => simulation.replace(service);
          simulation.world.enqueue({ owner: process, label: 'has stopped', run: gone });
        });
      };
      if (!service.isStopping) simulation.world.enqueue({ owner: process, label: 'is told to stop', run });
      service.isStopping = true;
    },
  ],
  [
    3,
    'a process stops for a while',
    (simulation) => {
      pick(simulation).process.isFrozen = true;
    },
  ],
  [
    3,
    'a process goes on',
    ({ services }) => {
      const frozen = services.find(({ process }) => process.isFrozen);
      if (frozen !== undefined) frozen.process.isFrozen = false;
    },
  ],
  [3, 'servers give up on who is silent', giveUpSilent],
  [
    3,
    'a process stops for so long that servers give up on it',
    (simulation) => {
      pick(simulation).process.isFrozen = true;
      giveUpSilent(simulation);
    },
  ],
  [1, 'a transaction times out in Kafka', ({ kafka }) => kafka.timeOut()],
  [1, 'a member is dropped from the group', ({ world, group }) => group.expire(world.draw(2))],
  [1, 'Postgres restarts', ({ postgres }) => postgres.restart()],
  [
    1,
    'a standby is promoted that has every transaction',
    ({ world, postgres }) => {
      const lastEnd = postgres.wal.at(-1)?.endLsn ?? postgres.end;
      const least = lastEnd > postgres.leastBranchLsn ? lastEnd : postgres.leastBranchLsn;
      postgres.promote(least + BigInt(world.draw(Number(postgres.end - least) + 1)));
    },
  ],
  [
    1,
    'the carts database restarts, or fails over',
    ({ world, carts, scenario }) => carts.restart(scenario.gap === undefined ? world.draw(4) : 0),
  ],
];

const spread = (all: readonly Happening[]) => all.flatMap((one) => Array.from({ length: one[0] }, () => one));
const spreadUsual = spread(usual);
const spreadTroubles = spread(troubles);

export function useShop(simulation: Simulation): void {
  happen(simulation, spreadUsual);
}

export function makeTrouble(simulation: Simulation): void {
  happen(simulation, spreadTroubles);
}

function happen(simulation: Simulation, all: readonly Happening[]): void {
  const { world } = simulation;
  world.current = null;
  const [, name, make] = all[world.draw(all.length)]!;
  world.note(`*** ${name}`);
  make(simulation);
}

function giveUpSilent({ services, postgres, group }: Simulation): void {
  for (const { process } of services) if (process.isFrozen) postgres.endConnections('silent for too long', process);
  group.expireFrozen();
}

function pick({ world, services }: Simulation) {
  return services[world.draw(services.length)]!;
}
