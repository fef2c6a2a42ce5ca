// How far the reader is behind, and what its slot costs the server, sampled every two seconds for as long as one start
// lasts: while Kafka is away, or the stream is paused, the stream itself shows nothing. Guarantees: a failed sample ends
// the start, since it means that the session is gone. What the figures mean is metrics.ts's.
import { setTimeout as delay } from 'node:timers/promises';
import type { ReaderMetrics } from '../metrics.ts';
import type { SourceSession } from '../postgres/source-session.ts';
import type { Scope } from './scope.ts';

/** Two rows a sample; alerts on lag need no finer one. */
const SAMPLE_EVERY_MS = 2_000;

/** Samples until it is closed, which waits for nothing. */
export function startLagSampler(options: {
  source: Pick<SourceSession, 'readCurrentWal' | 'readSlot'>;
  slotName: string;
  metrics: Pick<ReaderMetrics, 'sampled'>;
  scope: Pick<Scope, 'fail'>;
  everyMs?: number;
}): { close(): void } {
  const { source, slotName, metrics, scope, everyMs = SAMPLE_EVERY_MS } = options;
  const closed = new AbortController();
  const run = async (): Promise<void> => {
    while (!closed.signal.aborted) {
      const slot = await source.readSlot(slotName);
      const { flushLsn } = await source.readCurrentWal();
      metrics.sampled(flushLsn, slot);
      await delay(everyMs, undefined, { signal: closed.signal, ref: false });
    }
  };
  run().catch((error) => {
    if (!closed.signal.aborted) scope.fail(error);
  });
  return { close: () => closed.abort() };
}
