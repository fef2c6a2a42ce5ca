import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from '#service/logger.ts';
import { startTopicWatch } from '../../../../cdc-reader/supervise/topic-watch.ts';
import { advancedCheckpoint } from '../../../support/examples/checkpoint.ts';

describe('the watch over the live topic', () => {
  let watch: ReturnType<typeof startTopicWatch>;
  let readId: () => Promise<string | null>;
  let reads: number;
  let failures: unknown[];

  beforeEach(() => {
    reads = 0;
    failures = [];
    readId = async () => 'one';
    watch = startTopicWatch({
      topic: 'live',
      session: {
        checkpoint: advancedCheckpoint({ liveTopicId: 'one' }),
        log: {
          readTopicId: () => {
            reads += 1;
            return readId();
          },
        },
      },
      scope: { fail: (error) => void failures.push(error) },
      logger: createLogger('test', 'silent'),
      everyMs: 1,
    });
  });
  afterEach(() => watch.close());

  const readTimes = (more: number) => {
    const wanted = reads + more;
    return vi.waitFor(() => expect(reads).toBeGreaterThanOrEqual(wanted), { timeout: 10_000, interval: 1 });
  };

  it('ends a reader that publishes nothing where the name leads to another topic', async () => {
    await readTimes(3);
    expect(failures).toEqual([]);
    readId = async () => 'two';
    await vi.waitFor(() =>
      expect(failures).toMatchObject([{ code: 'LIVE_TOPIC_CHANGED', details: { expected: 'one', found: 'two' } }]),
    );
  });

  it('goes on while brokers do not answer, or one of them has not heard of the topic yet', async () => {
    readId = async () => Promise.reject(new Error('Kafka is away'));
    await readTimes(3);
    readId = async () => (reads % 2 === 0 ? 'two' : 'one');
    await readTimes(6);
    expect(failures).toEqual([]);
  });

  it('compares with what the newest checkpoint knows', async () => {
    watch.published(advancedCheckpoint({ liveTopicId: 'two' }));
    readId = async () => 'two';
    await readTimes(4);
    expect(failures).toEqual([]);
  });
});
