// The first start killed at every step, on a database that has orders already: intent, slot, snapshot, and the first
// streaming start. Every order is in the snapshot or in the stream, none in both, none in neither.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createReaderStage, type ReaderStage } from '../support/reader-stage.ts';

describe('a first start that is killed', () => {
  let stage: ReaderStage;
  beforeEach(async () => {
    stage = await createReaderStage('reader_first_start');
  });
  afterEach(() => stage.cleanUp());

  it.each([
    'reader.intent-written=kill',
    'reader.slot-created=kill',
    'reader.snapshot-published=kill:2',
    'reader.first-start-done=kill',
    'reader.slot-taken=kill',
    'reader.before-fence=kill',
    'reader.fenced=kill',
    'reader.before-streaming=kill',
  ])('finishes the first start after %s', async (failpoints) => {
    await stage.load.backlog({ first: 0, count: 2_500 });
    const first = await stage.startReader({ failpoints });
    expect((await first.exited).signal).toBe('SIGKILL');
    await stage.load.backlog({ first: 2_500, count: 20 });
    await stage.startStreaming();
    await stage.load.backlog({ first: 2_520, count: 20 });
    await stage.requireClean();
  });
});
