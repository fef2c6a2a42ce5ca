import { expect, it } from 'vitest';
import { openUnlessAborted } from '../../../../cart-sink/consume/open-unless-aborted.ts';

function createOpening() {
  const closed: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<{ close(): Promise<void> }>();
  const resource = { close: async () => void closed.push('closed') };
  return { opening: promise, open: () => resolve(resource), fail: reject, resource, closed };
}

it('gives what was opened', async () => {
  const { opening, open, resource, closed } = createOpening();
  const opened = openUnlessAborted(opening, new AbortController().signal);
  open();
  expect(await opened).toBe(resource);
  expect(closed).toEqual([]);
});

it('gives up at once when aborted, and closes what opens later', async () => {
  const { opening, open, closed } = createOpening();
  const abort = new AbortController();
  const opened = openUnlessAborted(opening, abort.signal);
  abort.abort();
  await expect(opened).rejects.toThrow('aborted');
  open();
  await opening;
  await Promise.resolve();
  expect(closed).toEqual(['closed']);
});

it('opens nothing when it was aborted before', async () => {
  const { opening, fail } = createOpening();
  await expect(openUnlessAborted(opening, AbortSignal.abort())).rejects.toThrow('aborted');
  fail(new Error('nobody hears of it'));
});
