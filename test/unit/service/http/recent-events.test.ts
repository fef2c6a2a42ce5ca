// The events that a service keeps of itself: which lines, for how long, how many, and through the real logger.
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createRecentEvents, recentEvents } from '#service/http/recent-events.ts';
import { createHttpServer } from '#service/http-server.ts';
import { createLogger, loggerOptions } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';

const START_MS = Date.UTC(2026, 10, 28, 12);
const line = (event: string, text = 'It happened.', fields: object = {}) => ({ fields: { event, ...fields }, text });

describe('recent events', () => {
  it('keep what the log has, with the error or the reason that it names', () => {
    const events = createRecentEvents(() => START_MS);
    const err = Object.assign(new Error('The stream has ended.'), { code: 'STREAM_LOST' });
    events.note(line('reader.restarting', 'Reader failed.', { err }));
    events.note(line('sink.restarting', 'The session ended.', { reason: 'stale-owner', waitMs: 5 }));
    events.note(line('service.listening', 'It listens.'));
    events.note({ fields: { err }, text: 'A line without an event.' });
    expect(events.read().events).toEqual([
      {
        at: '2026-11-28T12:00:00.000Z',
        event: 'reader.restarting',
        text: 'Reader failed.',
        why: 'STREAM_LOST: The stream has ended.',
      },
      { at: '2026-11-28T12:00:00.000Z', event: 'sink.restarting', text: 'The session ended.', why: 'stale-owner' },
      { at: '2026-11-28T12:00:00.000Z', event: 'service.listening', text: 'It listens.', why: null },
    ]);
  });

  it('are forgotten after a day, also if nothing happens any more', () => {
    let nowMs = START_MS;
    const events = createRecentEvents(() => nowMs);
    events.note(line('pipeline.halted'));
    nowMs += 24 * 3_600_000;
    expect(events.read().events).toHaveLength(1);
    nowMs += 1;
    expect(events.read().events).toEqual([]);
  });

  it('of one kind push out their own kind only, and all together are bounded', () => {
    const events = createRecentEvents(() => START_MS);
    events.note(line('pipeline.halted'));
    for (let count = 0; count < 1_000; count += 1) events.note(line('sink.retrying', `Try ${count}.`));
    const texts = events.read().events.map(({ text }) => text);
    expect(texts).toHaveLength(21);
    expect([texts[0], texts.at(-1)]).toEqual(['It happened.', 'Try 999.']);
    for (let kind = 0; kind < 500; kind += 1) events.note(line(`some.kind-${kind}`, 'x'.repeat(10_000)));
    const { events: all } = events.read();
    expect(all).toHaveLength(200);
    expect(JSON.stringify(all).length).toBeLessThan(200 * 600);
  });

  it.each(['debug', 'info', 'error', 'silent'])(
    'come through the logger at LOG_LEVEL=%s, which writes what it wrote before',
    (level) => {
      const write = (note: Parameters<typeof createLogger>[2]) => {
        const written: string[] = [];
        const stream = { write: (text: string) => void written.push(JSON.parse(text).event) };
        const logger = pino(loggerOptions('test', level, note), stream);
        for (const method of ['debug', 'info', 'warn', 'error'] as const) {
          logger.child({})[method]({ event: `test.${method}` }, 'A line.');
        }
        logger.error(new Error('an error alone'));
        return written;
      };
      const events = createRecentEvents(() => START_MS);
      expect(write(events.note)).toEqual(write(undefined));
      expect(events.read().events.map(({ event }) => event)).toEqual(['test.info', 'test.warn', 'test.error']);
    },
  );

  it('are served where health and metrics are, with the start of the process', async () => {
    const events = createRecentEvents();
    const server = await createHttpServer({
      service: 'test',
      host: '127.0.0.1',
      port: 0,
      logger: createLogger('test', 'silent', events.note),
      metrics: createMetrics('test'),
      readiness: () => ({ ready: true, body: {} }),
      events,
    });
    try {
      const url = await server.listen();
      const answer = recentEvents.parse(await (await fetch(new URL('/operations/events', url))).json());
      expect(answer.events).toMatchObject([{ event: 'service.listening' }]);
      expect(Date.parse(answer.startedAt)).toBeLessThanOrEqual(Date.parse(answer.events[0]!.at));
    } finally {
      await server.close();
    }
  });
});
