/**
 * The Prometheus metrics of one process, Node's default metrics included.
 *
 * Guarantees that every name starts with `tillstream_`, but those of Node and its process, which are the usual ones. The service is the scraper's label (`job`), as usual with
 * Prometheus; `tillstream_service_info` names it too. Each call makes a registry, instead of prom-client's global one, so
 * that tests can run several services in one process.
 */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { readVersion } from './command-line/version.ts';

export interface Metrics {
  readonly registry: Registry;
  counter<const L extends string = never>(name: string, help: string, labels?: readonly L[]): Counter<L>;
  gauge<const L extends string = never>(name: string, help: string, labels?: readonly L[]): Gauge<L>;
  /**
   * A gauge that is read at each scrape, so that it never stands still: what `read` returns are its series, and there are none
   * where it returns none or fails.
   */
  state<const L extends string = never>(
    name: string,
    help: string,
    labels: readonly L[],
    read: () => readonly StateSample<L>[] | Promise<readonly StateSample<L>[]>,
  ): void;
  /** `buckets` are upper bounds, in the unit that the name ends with. */
  histogram<const L extends string = never>(
    name: string,
    help: string,
    labels?: readonly L[],
    buckets?: readonly number[],
  ): Histogram<L>;
  /** The body of `GET /metrics`. */
  render(): Promise<string>;
}

/** One series: its labels and its value. */
export type StateSample<L extends string = string> = readonly [labels: Record<L, string | number>, value: number];

const PREFIX = 'tillstream_';

/** From half a millisecond (an event through a warm pipeline) to ten seconds (longer than every timeout). */
const DEFAULT_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Between two samples of the event loop's delay: every 10 ms, prom-client's default, takes half a percent of a core for ever. */
const LOOP_SAMPLE_MS = 100;

export function createMetrics(service: string, commit = 'unknown'): Metrics {
  const registry = new Registry();
  const precision = { eventLoopMonitoringPrecision: LOOP_SAMPLE_MS };
  collectDefaultMetrics({ register: registry, ...precision });
  // The names that these had before, for one release (CHANGELOG): dashboards turn to the standard ones meanwhile.
  collectDefaultMetrics({ register: registry, prefix: PREFIX, ...precision });

  const configure = <L extends string>(name: string, help: string, labelNames: readonly L[]) => {
    if (!name.startsWith(PREFIX)) throw new Error(`metric ${name} must start with ${PREFIX}`);
    return { name, help, labelNames, registers: [registry] };
  };
  const info = new Gauge(configure('tillstream_service_info', 'Always 1; names the service', ['service']));
  info.set({ service }, 1);
  const build = new Gauge(configure('tillstream_build_info', 'Always 1; names the build', ['version', 'commit']));
  build.set({ version: readVersion(), commit }, 1);
  return {
    registry,
    counter: (name, help, labels = []) => new Counter(configure(name, help, labels)),
    gauge: (name, help, labels = []) => new Gauge(configure(name, help, labels)),
    state: (name, help, labels, read) => {
      new Gauge({
        ...configure(name, help, labels),
        async collect() {
          const samples = await Promise.try(read).catch(() => []);
          this.reset();
          if (samples.length === 0) this.remove({}); // without labels, reset leaves a 0
          for (const [values, value] of samples) this.set(values, value);
        },
      });
    },
    histogram: (name, help, labels = [], buckets = DEFAULT_BUCKETS) =>
      new Histogram({ ...configure(name, help, labels), buckets: [...buckets] }),
    render: () => registry.metrics(),
  };
}
