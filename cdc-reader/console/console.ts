// The console on the reader's operations address: one page, and server-sent events with what it shows. Guarantees: it only reads;
// the pipeline never waits for it (it asks health and metrics as anybody would, its own process by a function); one watch feeds all
// viewers, slowly while there are none; a viewer who does not read is dropped; after a reconnection a snapshot comes first again.
import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { OperationsAccess } from '#service/http/operations-access.ts';
import type { RecentEvents } from '#service/http/recent-events.ts';
import type { ZodFastifyInstance } from '#service/http-server.ts';
import type { Logger } from '#service/logger.ts';
import type { Metrics } from '#service/metrics.ts';
import type { Overview } from '../status/overview.ts';
import { parsePrometheusText } from '../status/prometheus-text.ts';
import type { PipelineBody, ServiceAddress, ServiceReading } from '../status/read-service.ts';
import { PipelineWatch } from '../status/watch.ts';

const READ_DEADLINE_MS = 1_000;
const WATCHED_EVERY_MS = 1_000;
/** For the line of 15 minutes, while nobody looks. */
const UNWATCHED_EVERY_MS = 15_000;
const MOST_VIEWERS = 100;
/** Two snapshots of a large pipeline; who has not read so much is gone, or asleep. */
const MOST_UNREAD_BYTES = 512 * 1024;
/** How many points a line of 15 minutes has. */
const MOST_POINTS = 180;

/** The page loads from this server only, runs no inline script and can't be framed. */
const PAGE_POLICY =
  "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES: Readonly<Record<string, string>> = {
  'console.html': 'text/html; charset=utf-8',
  'console.css': 'text/css; charset=utf-8',
  'console.js': 'text/javascript; charset=utf-8',
  'carts-panels.js': 'text/javascript; charset=utf-8',
  'panels.js': 'text/javascript; charset=utf-8',
  'elements.js': 'text/javascript; charset=utf-8',
  'charts.js': 'text/javascript; charset=utf-8',
};

export interface ConsoleOptions {
  /** The other services. */
  readonly services: readonly ServiceAddress[];
  readonly access: OperationsAccess;
  readonly metrics: Metrics;
  /** Of this reader. */
  readonly pipeline: () => { readonly ready: boolean; readonly body: Record<string, unknown> };
  /** What it has logged of itself. */
  readonly events: RecentEvents['read'];
  readonly logger: Logger;
  /** {@link WATCHED_EVERY_MS} by default. */
  readonly everyMs?: number;
}

/** A point of the lines of 15 minutes. */
interface Point extends Pick<Overview, 'rates'> {
  readonly at: string;
  readonly p50: number | null;
  readonly p99: number | null;
}

export interface Console {
  readonly addRoutes: (app: ZodFastifyInstance) => void;
  /** Ends every viewer's connection, and the readings. */
  close(): void;
}

export function createConsole(options: ConsoleOptions): Console {
  const { services, access, logger, everyMs = WATCHED_EVERY_MS } = options;
  const closing = new AbortController();
  const viewers = new Set<ServerResponse>();
  /** They get everything with the next reading, which is made for them: the last one may be of some time ago. */
  const isNew = new Set<ServerResponse>();
  const points: Point[] = [];
  const watch = new PipelineWatch({ services, access, deadlineMs: READ_DEADLINE_MS, own: () => readSelf(options) });
  let wake = (): void => undefined;
  let panels: Readonly<Record<string, string>> = {};

  const onOverview = (overview: Overview): void => {
    addPoint(points, overview);
    const next = toPanels(overview, points);
    const changed = Object.entries(next).filter(([name, text]) => panels[name] !== text);
    panels = next;
    for (const viewer of viewers) {
      if (isNew.delete(viewer)) send(viewer, 'snapshot', Object.entries(next));
      else send(viewer, 'delta', changed);
    }
  };
  const send = (viewer: ServerResponse, event: string, entries: readonly (readonly [string, string])[]): void => {
    viewer.write(
      `event: ${event}\ndata: {${entries.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(',')}}\n\n`,
    );
    if (viewer.writableLength > MOST_UNREAD_BYTES) viewer.destroy();
  };
  const run = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      onOverview(await watch.read());
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      const timer = setTimeout(resolve, viewers.size > 0 ? everyMs : UNWATCHED_EVERY_MS);
      timer.unref();
      await promise;
      clearTimeout(timer);
    }
  };
  run().catch((error) =>
    logger.error({ event: 'console.failed', err: error }, 'The console has stopped; nothing else has.'),
  );

  const addRoutes = (app: ZodFastifyInstance): void => {
    for (const [file, type] of Object.entries(TYPES)) {
      const bytes = readFileSync(join(import.meta.dirname, 'page', file));
      app.get(file === 'console.html' ? '/' : `/console/${file}`, { schema: { hide: true } }, (_request, reply) =>
        reply
          .type(type)
          .header('content-security-policy', PAGE_POLICY)
          .header('cache-control', 'no-cache')
          .send(bytes as never),
      );
    }
    app.get('/console/events', { schema: { hide: true } }, (request, reply) => {
      if (viewers.size >= MOST_VIEWERS) return reply.code(503).header('retry-after', '5').send();
      reply.hijack();
      const viewer = reply.raw;
      viewer.writeHead(200, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      // A write to a connection that has just ended fails with an event; without a listener it would end the process.
      viewer.on('error', () => undefined);
      viewer.write('retry: 1000\n\n');
      viewers.add(viewer);
      isNew.add(viewer);
      request.raw.once('close', () => {
        viewers.delete(viewer);
        isNew.delete(viewer);
      });
      wake();
      return reply;
    });
    app.addHook('preClose', async () => endViewers());
  };
  const endViewers = (): void => {
    for (const viewer of viewers) viewer.end();
    viewers.clear();
    isNew.clear();
  };
  return {
    addRoutes,
    close() {
      closing.abort();
      wake();
      endViewers();
    },
  };
}

/** What this process says of itself, as if it had been asked. */
async function readSelf({ metrics, pipeline, events }: ConsoleOptions): Promise<ServiceReading> {
  const { ready, body } = pipeline();
  const answer = {
    isWell: ready,
    pipeline: body as PipelineBody,
    metrics: parsePrometheusText(await metrics.render()),
  };
  const others = { problem: undefined, recent: events(), carts: undefined, cartsProblem: undefined };
  return { kind: 'cdc-reader', url: 'this reader', atMs: Date.now(), answer, ...others };
}

function addPoint(points: Point[], { at, rates, latency }: Overview): void {
  const atMs = Date.parse(at);
  const last = points.at(-1);
  if (last !== undefined && atMs - Date.parse(last.at) < 5_000) return;
  points.push({ at, rates, p50: latency.ofLastMinute?.p50 ?? null, p99: latency.ofLastMinute?.p99 ?? null });
  while (points.length > MOST_POINTS || atMs - Date.parse(points[0]!.at) > 15 * 60_000) points.shift();
}

/** Each panel as JSON, so that only what has changed is sent. */
function toPanels(overview: Overview, points: readonly Point[]): Readonly<Record<string, string>> {
  const { at, ...panels } = overview;
  const texts = Object.entries({ ...panels, history: points }).map(([name, data]) => [name, JSON.stringify(data)]);
  return { ...Object.fromEntries(texts), at: JSON.stringify(at) } as Record<string, string>;
}
