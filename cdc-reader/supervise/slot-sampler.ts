// Samples the health of the two slots for as long as the process lives: also while the reader has halted, stands by or waits, which
// is when a slot fills the server's disk unseen. Guarantees: a failed sample is only logged at debug, and ends nothing; a
// risk is logged once, until it is gone and comes back. It holds no connection between two samples.
import { setTimeout as delay } from 'node:timers/promises';
import { windowSlotName } from '#schemas/resource-names.ts';
import type { Logger } from '#service/logger.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { READER_SLOT_AT_RISK, type ReaderMetrics } from '../metrics.ts';
import { readSlotsHealth, type SlotsHealth } from '../postgres/slots/slot-health.ts';
import { findSlotRisks } from './slot-risks.ts';

/** As often as Prometheus scrapes by default; each sample costs a connection. */
const SAMPLE_EVERY_MS = 15_000;
/** After the beginning of streaming, then twice as long each time: the window slot is made shortly after. */
const SOON_MS = 1_000;

interface SlotSampler {
  /** Streaming has begun: whatever was sampled before may be of slots that were not made yet. */
  streamingBegan(): void;
  close(): void;
}

/** Samples at once and then until it is closed, which waits for nothing. */
export function startSlotSampler(options: {
  config: { readonly orderDatabase: DatabaseServer; readonly applicationName: string; readonly slotName: string };
  metrics: Pick<ReaderMetrics, 'slotsSampled'>;
  logger: Pick<Logger, 'warn' | 'debug'>;
  read?: typeof readSlotsHealth;
  everyMs?: number;
}): SlotSampler {
  const { config, metrics, logger, read = readSlotsHealth, everyMs = SAMPLE_EVERY_MS } = options;
  const { orderDatabase: postgres, applicationName, slotName } = config;
  const names = { slotName, windowSlotName: windowSlotName(slotName) };
  const closed = new AbortController();
  let known: ReadonlySet<string> = new Set();
  let delayMs = everyMs;
  let sampleNow = new AbortController();

  const report = (health: SlotsHealth): void => {
    metrics.slotsSampled(health, names);
    const risks = findSlotRisks(health, names);
    for (const { key, message } of risks) if (!known.has(key)) logger.warn({ event: READER_SLOT_AT_RISK }, message);
    known = new Set(risks.map(({ key }) => key));
  };
  const run = async (): Promise<void> => {
    while (!closed.signal.aborted) {
      sampleNow = new AbortController();
      try {
        const health = await read({ postgres, applicationName, slotNames: Object.values(names) });
        if (closed.signal.aborted) return;
        report(health);
      } catch (error) {
        if (closed.signal.aborted) return;
        logger.debug({ err: error }, 'The health of the slots could not be read; it is read again.');
      }
      const signal = AbortSignal.any([closed.signal, sampleNow.signal]);
      await delay(delayMs, undefined, { signal, ref: false }).catch(() => undefined); // closed, or at once
      delayMs = sampleNow.signal.aborted ? Math.min(everyMs, SOON_MS) : Math.min(everyMs, 2 * delayMs);
    }
  };
  void run();
  return {
    streamingBegan: () => sampleNow.abort(),
    close: () => closed.abort(),
  };
}
