// Reads the services of a pipeline again and again, for whoever shows them. Guarantees: a round takes no longer than its deadline,
// whatever is away; rounds never overlap; 15 minutes of them are kept, thinned out where nobody looks; since when a service has
// not answered is kept. What the rounds mean is overview.ts's.
import { setTimeout as delay } from 'node:timers/promises';
import { describeRounds, type Overview } from './overview.ts';
import { type ReadOptions, readService, type ServiceAddress, type ServiceReading } from './read-service.ts';
import { atOf, type Round } from './rounds.ts';

/** What the line of 15 minutes shows. */
const KEPT_MS = 15 * 60_000;
/** Rounds of the last minute are kept as they are: rates and latency come from them. Older ones at most one for so long. */
const THINNED_MS = 15_000;

export interface WatchOptions extends ReadOptions {
  readonly services: readonly ServiceAddress[];
  /** Instead of asking over HTTP, for the process itself. */
  readonly own?: (() => Promise<ServiceReading>) | undefined;
}

export class PipelineWatch {
  readonly #options: WatchOptions;
  readonly #rounds: Round[] = [];
  readonly #awaySince = new Map<string, number>();

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** Reads all services once. Does not throw. */
  async read(): Promise<Overview> {
    const { services, own } = this.#options;
    const round = await Promise.all([
      ...(own === undefined ? [] : [own()]),
      ...services.map((service) => readService(service, this.#options)),
    ]);
    for (const { url, answer, atMs } of round) {
      if (answer !== undefined) this.#awaySince.delete(url);
      else if (!this.#awaySince.has(url)) this.#awaySince.set(url, atMs);
    }
    this.#rounds.push(round);
    this.#thinOut(atOf(round));
    return describeRounds(this.#rounds, this.#awaySince);
  }

  /** Reads until `signal` is aborted: every `everyMs()` milliseconds, asked after each round. */
  async run(everyMs: () => number, onOverview: (overview: Overview) => void, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      onOverview(await this.read());
      await delay(everyMs(), undefined, { signal, ref: false }).catch(() => undefined); // stopped
    }
  }

  #thinOut(nowMs: number): void {
    const kept: Round[] = [];
    for (const round of this.#rounds) {
      const age = nowMs - atOf(round);
      const last = kept.at(-1);
      const isDense = age > 70_000 && last !== undefined && atOf(round) - atOf(last) < THINNED_MS;
      if (age <= KEPT_MS && !isDense) kept.push(round);
    }
    this.#rounds.splice(0, this.#rounds.length, ...kept);
  }
}
