// The metrics of a first start, which may take hours in a big shop; without one they have no series.
import type { Metrics } from '#service/metrics.ts';
import type { FirstStartProgress } from './startup/first-start/progress.ts';

export function createFirstStartMetrics(metrics: Metrics) {
  const gauge = (name: string, help: string) => metrics.gauge(`tillstream_reader_first_start_${name}`, help, ['of']);
  const orders = gauge('orders', 'Orders of the initial snapshot: done, and estimated for all of it');
  const rate = gauge('orders_per_second', 'Orders of the initial snapshot done in a second, over the last minute');
  const left = gauge('seconds_left', 'Estimated seconds until the initial snapshot is published');
  return {
    firstStart({ done, estimatedTotal, ordersPerSecond, secondsLeft }: FirstStartProgress): void {
      orders.set({ of: 'done' }, done);
      if (estimatedTotal !== null) orders.set({ of: 'estimated' }, estimatedTotal);
      rate.set({ of: 'snapshot' }, ordersPerSecond);
      if (secondsLeft !== null) left.set({ of: 'snapshot' }, secondsLeft);
    },
    /** It has ended, one way or the other. */
    firstStartEnded(): void {
      for (const one of [orders, rate, left]) one.reset();
    },
  };
}
