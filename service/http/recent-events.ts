/**
 * What a service has logged of itself in the last day, kept in its memory and served at GET /operations/events: a page that is opened
 * now shows why something restarted last night.
 *
 * Guarantees: bounded, and a frequent event pushes out none but its own kind; nothing is kept that is not in the log (no row
 * values, no stacks). A restart of the process empties it, and is itself the first event. Leaves to readers: what is worth showing.
 */
import { z } from 'zod';
import type { LoggedLine } from '../logger.ts';
import type { ZodFastifyInstance } from './standard-routes.ts';

const KEPT_MS = 24 * 3_600_000;
const MOST_EVENTS = 200;
const MOST_OF_ONE_EVENT = 20;
const LONGEST_TEXT = 400;

const recentEvent = z.object({
  at: z.iso.datetime(),
  /** The name in the log. */
  event: z.string(),
  text: z.string(),
  /** The error, or the reason that the line names. */
  why: z.string().nullable(),
});
export const recentEvents = z.object({
  /** When the process began: there are no events of before. */
  startedAt: z.iso.datetime(),
  /** The newest last. */
  events: z.array(recentEvent),
});

export type RecentEvent = z.infer<typeof recentEvent>;

export interface RecentEvents {
  /** For the logger: every line at `info` or above. */
  readonly note: (line: LoggedLine) => void;
  readonly read: () => z.infer<typeof recentEvents>;
}

export function createRecentEvents(nowMs: () => number = Date.now): RecentEvents {
  const startedAt = new Date(nowMs() - performance.now()).toISOString();
  let kept: readonly RecentEvent[] = [];
  const dropOld = (): void => {
    const sinceMs = nowMs() - KEPT_MS;
    kept = kept.filter(({ at }) => Date.parse(at) >= sinceMs);
  };
  return {
    note: ({ fields, text }) => {
      const { event } = fields;
      if (typeof event !== 'string') return;
      dropOld();
      const same = kept.filter((one) => one.event === event);
      const spared = same.length < MOST_OF_ONE_EVENT ? kept : kept.filter((one) => one !== same[0]);
      const next = { at: new Date(nowMs()).toISOString(), event, text: cut(text), why: findReason(fields) };
      kept = [...spared, next].slice(-MOST_EVENTS);
    },
    read: () => {
      dropOld();
      return { startedAt, events: [...kept] };
    },
  };
}

/** Most lines have one of these. */
function findReason({ err, code, name, reason }: LoggedLine['fields']): string | null {
  if (err instanceof Error) {
    const { code: errorCode } = err as { code?: unknown };
    const hasCode = typeof errorCode === 'string' && !err.message.includes(errorCode);
    return cut(hasCode ? `${errorCode}: ${err.message}` : err.message || err.name);
  }
  const found = [code, name, reason].find((one) => typeof one === 'string');
  return typeof found === 'string' ? cut(found) : null;
}

const cut = (text: string): string => (text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)} …` : text);

const schema = {
  tags: ['operations'],
  summary: 'What this process has logged of itself in the last day, at info or above',
  response: { 200: recentEvents },
};

export function addEventsRoute(app: ZodFastifyInstance, { read }: RecentEvents): void {
  app.get('/operations/events', { schema }, read);
}
