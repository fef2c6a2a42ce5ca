// Reads the orders of a range before anything is published: how many there are, what the ledger lacks, and what a reapply would
// change. Guarantees: changes nothing; a reapply is computed by the sink's own rule, over all orders in sequence, in one
// read-only snapshot of the carts. The result holds for that moment: live orders and users continue.

import { IsolationLevel } from '@databases/pg';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { comparePositions, formatPosition } from '#schemas/position.ts';
import { createOrderFilter, type OrderFilter, type Survey, type SurveyedOrder } from '#schemas/replay/plan.ts';
import type { ReplayMode } from '#schemas/replay/records.ts';
import type { Database } from '#service/database.ts';
import { createReplayPreview, type OrderPreview, readUnknownOrders } from '../../../cart-sink/apply/preview-replay.ts';
import type { ReplaySource, SourceOrder } from '../sources/source.ts';

export interface SurveyOptions {
  readonly source: ReplaySource;
  readonly filter: OrderFilter;
  readonly mode: ReplayMode;
  /** Called with every order for which a run would change something. */
  readonly onPreview?: ((order: OrderPreview) => void) | undefined;
  readonly onProgress: (orders: number) => void;
  readonly signal: AbortSignal;
}

type Inspect = (events: readonly OrderPlaced[]) => Promise<{ unknown: number; changing: number }>;

export async function surveySource({ pool }: Pick<Database, 'pool'>, options: SurveyOptions): Promise<Survey> {
  const { mode, onPreview } = options;
  if (mode === 'repair' && onPreview === undefined) {
    const survey = await readThrough(options, async (events) => {
      const unknown = await readUnknownOrders(
        pool,
        events.map(({ orderId }) => orderId),
      );
      return { unknown: unknown.size, changing: 0 };
    });
    return { ...survey, changing: null };
  }
  return pool.tx(
    async (tx) => {
      const preview = createReplayPreview(tx, mode);
      return readThrough(options, async (events) => {
        const previewed: readonly OrderPreview[] = await preview.add(events);
        const effective = previewed.filter(({ isNew, changes }) => isNew || changes.length > 0);
        for (const order of effective) onPreview?.(order);
        const unknown = effective.filter(({ isNew }) => isNew).length;
        return { unknown, changing: effective.length - unknown };
      });
    },
    { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
  );
}

async function readThrough({ source, filter, onProgress, signal }: SurveyOptions, inspect: Inspect): Promise<Survey> {
  const isWanted = createOrderFilter(filter);
  let [orders, unknown, changing, skipped] = [0, 0, 0, 0];
  let [first, last]: [OrderPlaced | null, OrderPlaced | null] = [null, null];
  for await (const chunk of source.read(null, signal)) {
    const events = chunk.orders.filter(isWanted).map(({ event }: SourceOrder) => event);
    skipped += chunk.skipped ?? 0;
    if (events.length === 0) continue;
    const found = await inspect(events);
    for (const event of events) {
      if (first === null || comparePositions(event, first) < 0) first = event;
      if (last === null || comparePositions(event, last) > 0) last = event;
    }
    orders += events.length;
    unknown += found.unknown;
    changing += found.changing;
    onProgress(orders);
  }
  return { orders, unknown, changing, skipped, first: describe(first), last: describe(last) };
}

function describe(event: OrderPlaced | null): SurveyedOrder | null {
  return event && { position: formatPosition(event), committedAt: event.committedAt };
}
