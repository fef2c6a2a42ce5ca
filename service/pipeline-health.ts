// Whether the pipeline of a service does its work, in the words of the design: working, or one of three states beside it.
// Transient (retried, ends by itself), waiting (needs a person; tried for ever, ends by itself when the cause is gone) and
// halted (service/halt.ts). Guarantees: each state is named, with the time since when, in GET /health/pipeline, in a metric
// and once in the log; an unknown error becomes waiting after a few tries without progress, so nothing fails for ever
// without a name. What to give up while waiting (slot, transactional id, partitions) is left to the pipeline.
import type { Failure } from './failure.ts';
import type { HaltState } from './halt.ts';
import type { Readiness } from './http-server.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';

/** Logged once for each cause that needs a person. */
const PIPELINE_WAITING = 'pipeline.waiting';
/** Logged when a waiting or long transient state has ended. */
const PIPELINE_WORKING = 'pipeline.working';

/** So many tries without progress make an unknown error one that waits. */
export const UNKNOWN_TRIES = 5;
/** A reconnection takes less; what lasts longer is worth an alert. */
const TRANSIENT_GRACE_MS = 5_000;

const FIRST_DELAY_MS = 100;
/** Low enough that recovery is seen within seconds of a fault's end (I8). */
const LONGEST_DELAY_MS = 2_000;
const FIRST_WAITING_DELAY_MS = 1_000;
const LONGEST_WAITING_DELAY_MS = 30_000;

type Trouble =
  | { readonly kind: 'transient'; readonly name: string; readonly message: string }
  | { readonly kind: 'waiting'; readonly name: string; readonly message: string };

export interface PipelineHealth {
  /** Classifies a failed try, and reports it. */
  failed(error: unknown): Trouble;
  /** A try has made progress. */
  working(): void;
  /** Work has begun again, without progress yet: that ends a known transient state, and no other. */
  resumed(): void;
  current(): (Trouble & { readonly since: Date }) | undefined;
  /** Milliseconds before the next try. @param random uniform in [0, 1): two services must not stay in step */
  delayMs(random: number): number;
}

export function createPipelineHealth(options: {
  metrics: Metrics;
  logger: Logger;
  classify: (error: unknown) => Failure;
  nowMs?: () => number;
}): PipelineHealth {
  const { metrics, logger, classify, nowMs = Date.now } = options;
  const waiting = metrics.gauge('tillstream_waiting', '1 while the pipeline waits for a person, by cause', ['name']);
  const since = metrics.gauge(
    'tillstream_trouble_since_seconds',
    'Unix time since when the pipeline is retrying or waiting; 0 while it works',
  );
  since.set(0);
  let trouble: (Trouble & { readonly since: Date }) | undefined;
  let isKnown = true;
  let tries = 0;
  let unknownTries = 0;

  const working = (): void => {
    if (trouble === undefined) return;
    if (trouble.kind === 'waiting') logger.info({ event: PIPELINE_WORKING, name: trouble.name }, 'The cause is gone.');
    trouble = undefined;
    tries = 0;
    unknownTries = 0;
    waiting.reset();
    since.set(0);
  };
  return {
    working,
    resumed() {
      if (trouble?.kind === 'transient' && isKnown) working();
    },
    failed(error) {
      const failure = classify(error);
      isKnown = failure.kind !== 'unknown';
      tries += 1;
      unknownTries = failure.kind === 'unknown' ? unknownTries + 1 : 0;
      const next = toTrouble(failure, error, unknownTries >= UNKNOWN_TRIES);
      const isNews = trouble?.kind !== next.kind || trouble.name !== next.name;
      if (trouble?.kind !== next.kind) tries = 1;
      trouble = { ...next, since: trouble?.kind === next.kind ? trouble.since : new Date(nowMs()) };
      since.set(trouble.since.getTime() / 1000);
      if (isNews) {
        waiting.reset();
        if (next.kind === 'waiting') {
          waiting.set({ name: next.name }, 1);
          logger.error({ event: PIPELINE_WAITING, name: next.name, err: error }, next.message);
        }
      }
      return next;
    },
    current: () => trouble,
    delayMs(random) {
      const [first, longest] =
        trouble?.kind === 'waiting'
          ? [FIRST_WAITING_DELAY_MS, LONGEST_WAITING_DELAY_MS]
          : [FIRST_DELAY_MS, LONGEST_DELAY_MS];
      return Math.min(longest, first * 2 ** Math.min(tries - 1, 16)) * (0.75 + random / 4);
    },
  };
}

function toTrouble(failure: Failure, error: unknown, isPersistent: boolean): Trouble {
  const { code, message } = error as { code?: unknown; message?: string };
  const what = message ?? String(error);
  const name = typeof code === 'string' && /^[A-Z][A-Z0-9_]+$/.test(code) ? code : 'UNKNOWN_FAILURE';
  if (failure.kind === 'transient') return { kind: 'transient', name: failure.reason, message: what };
  if (failure.kind === 'waiting') {
    return {
      kind: 'waiting',
      name: failure.name,
      message: failure.remedy === '' ? what : `${what.replace(/[.:]$/, '')}: ${failure.remedy}`,
    };
  }
  if (!isPersistent) return { kind: 'transient', name, message: what };
  return { kind: 'waiting', name, message: `${what}. It has failed ${UNKNOWN_TRIES} times without progress.` };
}

/**
 * What GET /health/pipeline answers: 503 in each of the three states, named; a transient one counts after five seconds.
 * `working` is what the body says of a pipeline that works.
 */
export function formatPipelineHealth(
  { current }: Pick<PipelineHealth, 'current'>,
  halts: Pick<HaltState, 'current'>,
  working: Readonly<Record<string, unknown>>,
  nowMs: number = Date.now(),
): Readiness {
  const halted = halts.current();
  if (halted !== undefined) return { ready: false, body: { state: 'halted', ...halted } };
  const trouble = current();
  if (trouble === undefined) return { ready: true, body: working };
  const isCounted = trouble.kind === 'waiting' || nowMs - trouble.since.getTime() >= TRANSIENT_GRACE_MS;
  const { kind: state, name, message, since } = trouble;
  return { ready: !isCounted, body: { state, name, message, since: since.toISOString() } };
}
