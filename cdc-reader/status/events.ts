// What has happened in the last day, of all services together: what each has logged of itself, and what only shows from outside (a
// verdict, a service that is away, a slot's status). Pure. Guarantees: newest first and bounded; what says nothing to an operator
// is left to the log.
import type { RecentEvent } from '#service/http/recent-events.ts';
import type { ServiceKind } from './read-service.ts';
import type { Round } from './rounds.ts';

export interface PipelineEvent extends RecentEvent {
  /** `pipeline`: seen from outside. */
  readonly of: ServiceKind | 'pipeline';
  /** Of the service; null for the pipeline. */
  readonly url: string | null;
  /** Whether it tells who runs: a start, a restart, a takeover, a rebalance. */
  readonly isAboutRunning: boolean;
}

const MOST_SHOWN = 100;
/** Too frequent, or of no use without the lines around it. */
const LEFT_TO_THE_LOG: ReadonlySet<string> = new Set([
  'kafka.client',
  'http.request-failed',
  'reader.first-start-progress',
  'database.connection-lost',
]);
const ABOUT_RUNNING: ReadonlySet<string> = new Set([
  'service.listening',
  'service.stopping',
  'reader.streaming',
  'reader.standby',
  'reader.restarting',
  'sink.assigned',
  'sink.lost-partition',
  'sink.restarting',
]);

/** @param noted what {@link findChanges} has found, in any sequence */
export function collectEvents(round: Round, noted: readonly PipelineEvent[]): PipelineEvent[] {
  const logged = round.flatMap(({ kind, url, recent }) =>
    (recent?.events ?? [])
      .filter(({ event }) => !LEFT_TO_THE_LOG.has(event))
      .map((one): PipelineEvent => ({ ...one, of: kind, url, isAboutRunning: ABOUT_RUNNING.has(one.event) })),
  );
  return [...logged, ...noted].toSorted((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0)).slice(0, MOST_SHOWN);
}

/** What an overview shows, as far as changes are told by it. */
interface Shown {
  readonly at: string;
  readonly verdict: { readonly title: string; readonly kind: string; readonly detail: string | null };
  readonly services: readonly { readonly kind: ServiceKind; readonly url: string; readonly state: string | null }[];
  readonly safety: { readonly slots: readonly { readonly slot: string; readonly walStatus: string }[] };
}

/** @param before undefined at the first reading: then nothing has changed */
export function findChanges(before: Shown | undefined, after: Shown): PipelineEvent[] {
  if (before === undefined) return [];
  const note = (event: string, text: string, why: string | null = null): PipelineEvent => ({
    at: after.at,
    event,
    text,
    why,
    of: 'pipeline',
    url: null,
    isAboutRunning: false,
  });
  const { verdict, services, safety } = after;
  const states = new Map(before.services.map(({ url, state }) => [url, state]));
  const statuses = new Map(before.safety.slots.map(({ slot, walStatus }) => [slot, walStatus]));
  return [
    ...(withoutFigures(before.verdict.title) === withoutFigures(verdict.title)
      ? []
      : [note('verdict', verdict.title, verdict.detail)]),
    ...services
      .filter(({ url, state }) => states.has(url) && states.get(url) !== state)
      .map(({ kind, url, state }) =>
        note('state', `${kind} ${url}: ${states.get(url) ?? 'away'} → ${state ?? 'away'}`),
      ),
    ...safety.slots
      .filter(({ slot, walStatus }) => statuses.has(slot) && statuses.get(slot) !== walStatus)
      .map(({ slot, walStatus }) => note('slot', `slot ${slot}: ${statuses.get(slot)} → ${walStatus}`)),
  ];
}

/** "catching up (about 40 s left)": the time left is no news. */
const withoutFigures = (title: string): string => title.replace(/ \(.*\)$/, '');
