/**
 * How busy a pool of connections is: open, in use, and how many wait for one.
 *
 * Guarantees to count every connection once, whether it is released or disposed of, and every wait, however it ends.
 */
import type { Metrics, StateSample } from '../metrics.ts';

/** A pool that counts. */
export interface PoolLoad {
  /** Now. */
  load(): { readonly open: number; readonly inUse: number; readonly waiting: number };
}

interface Lent {
  release(): void;
  dispose(): void;
}

export function countLoans() {
  let inUse = 0;
  let waiting = 0;
  return {
    inUse: () => inUse,
    waiting: () => waiting,
    /** Counts what `take` brings as in use until it is given back. */
    lend: async <T extends Lent>(take: Promise<T>): Promise<T> => {
      waiting += 1;
      const lent = await take.finally(() => {
        waiting -= 1;
      });
      inUse += 1;
      let isBack = false;
      const back = (): void => {
        if (!isBack) inUse -= 1;
        isBack = true;
      };
      const [release, dispose] = [lent.release.bind(lent), lent.dispose.bind(lent)];
      lent.release = () => {
        back();
        release();
      };
      lent.dispose = () => {
        back();
        dispose();
      };
      return lent;
    },
  };
}

/** Call once in a process. `pools`: by the name of their label. */
export function reportPools(metrics: Metrics, pools: Readonly<Record<string, PoolLoad>>): void {
  const all = Object.entries(pools);
  metrics.state('tillstream_pool_connections', 'Connections of a pool to its database', ['pool', 'state'], () =>
    all.flatMap(([pool, of]): StateSample<'pool' | 'state'>[] => {
      const { open, inUse } = of.load();
      return [
        [{ pool, state: 'in-use' }, inUse],
        [{ pool, state: 'idle' }, Math.max(0, open - inUse)],
      ];
    }),
  );
  metrics.state('tillstream_pool_waiting', 'Who waits for a connection of a pool', ['pool'], () =>
    all.map(([pool, of]) => [{ pool }, of.load().waiting]),
  );
}
