// Reads the services of a pipeline, for whoever shows them. Guarantees: a round takes no longer than its deadline, whatever is away;
// no more rounds are kept than rates, latency and a stall are told by (a round holds every metric of every service); since when a
// service has not answered is kept, what changed within the last day, and the last that is known of the carts. How often, and never two at a time, is the caller's; what rounds mean is overview.ts's.
import type { AskOptions } from './ask-service.ts';
import { collectEvents, findChanges, type PipelineEvent } from './events.ts';
import { describeRounds, type Overview } from './overview.ts';
import { readService, type ServiceAddress, type ServiceReading } from './read-service.ts';
import { atOf, type Round } from './rounds.ts';

/** The latency is that of the last minute; rounds that nobody watches are 15 s apart. */
const KEPT_MS = 90_000;
/** Rounds of the last seconds are kept as they are; of older ones at most one for so long. */
const DENSE_MS = 20_000;
const THINNED_MS = 5_000;
const NOTED_MS = 24 * 3_600_000;
const MOST_NOTED = 100;

export interface WatchOptions extends AskOptions {
  readonly services: readonly ServiceAddress[];
  /** Instead of asking over HTTP, for the process itself. */
  readonly own?: (() => Promise<ServiceReading>) | undefined;
}

export class PipelineWatch {
  readonly #options: WatchOptions;
  readonly #rounds: Round[] = [];
  readonly #awaySince = new Map<string, number>();
  #noted: readonly PipelineEvent[] = [];
  #last: ReturnType<typeof describeRounds> | undefined;
  /** What each service has told last of itself: shown while it is away, beside the state "away". */
  readonly #lastLines = new Map<string, Overview['services'][number]>();
  readonly #lastRecent = new Map<string, ServiceReading['recent']>();
  /** What a sink has answered last: shown with its time while none answers. */
  #carts: Pick<Overview, 'carts' | 'cartsAt'> = { carts: null, cartsAt: null };

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
    const described = describeRounds(this.#rounds, this.#awaySince);
    const isFresh = ({ at }: PipelineEvent) => Date.parse(at) >= atOf(round) - NOTED_MS;
    const noted = [...this.#noted, ...findChanges(this.#last, described)];
    this.#noted = noted.filter(isFresh).slice(-MOST_NOTED);
    this.#last = described;
    if (described.carts !== null) this.#carts = { carts: described.carts, cartsAt: described.at };
    const carts = described.carts === null ? this.#carts : {};
    const events = collectEvents(this.#withRecent(round), this.#noted);
    return { ...described, ...carts, services: described.services.map((line) => this.#complete(line)), events };
  }

  #complete(line: Overview['services'][number]): Overview['services'][number] {
    const { url, state, isWell, problem } = line;
    if (state !== null) this.#lastLines.set(url, line);
    const last = this.#lastLines.get(url);
    return state !== null || last === undefined ? line : { ...last, state, isWell, problem };
  }

  #withRecent(round: Round): Round {
    for (const { url, recent } of round) if (recent !== undefined) this.#lastRecent.set(url, recent);
    return round.map((one) => ({ ...one, recent: this.#lastRecent.get(one.url) }));
  }

  #thinOut(nowMs: number): void {
    const kept: Round[] = [];
    for (const round of this.#rounds) {
      const age = nowMs - atOf(round);
      const last = kept.at(-1);
      const isDense = age > DENSE_MS && last !== undefined && atOf(round) - atOf(last) < THINNED_MS;
      // Of rounds of before only the metrics are used.
      const slim = age === 0 ? round : round.map((one) => ({ ...one, recent: undefined }));
      if (age <= KEPT_MS && !isDense) kept.push(slim);
    }
    this.#rounds.splice(0, this.#rounds.length, ...kept);
  }
}
