import { describe, expect, it } from 'vitest';
import { resolvesWithin, unlessAborted, withDeadline } from '#service/deadline.ts';

const never = new Promise<never>(() => undefined);
const late = () => new Error('late');
const FAR_MS = 60_000;

describe('withDeadline', () => {
  it('settles as the work does, if that is in time', async () => {
    expect(await withDeadline(Promise.resolve(7), FAR_MS, late)).toBe(7);
    await expect(withDeadline(Promise.reject(new Error('bug')), FAR_MS, late)).rejects.toThrow('bug');
  });

  it('rejects at the deadline, and ignores a failure that comes later', async () => {
    const { promise, reject } = Promise.withResolvers<never>();
    await expect(withDeadline(promise, 1, late)).rejects.toThrow('late');
    reject(new Error('nobody waits for this any more'));
  });
});

describe('resolvesWithin', () => {
  it('is true for work that resolves in time, false for work that takes longer', async () => {
    expect(await resolvesWithin(Promise.resolve(), FAR_MS)).toBe(true);
    expect(await resolvesWithin(never, 1)).toBe(false);
  });

  it('rejects as the work does', async () => {
    await expect(resolvesWithin(Promise.reject(new Error('bug')), FAR_MS)).rejects.toThrow('bug');
  });
});

describe('unlessAborted', () => {
  it('settles as the work does while nothing is aborted', async () => {
    const { signal } = new AbortController();
    expect(await unlessAborted(Promise.resolve(7), signal)).toBe(7);
    await expect(unlessAborted(Promise.reject(new Error('bug')), signal)).rejects.toThrow('bug');
  });

  it('rejects with the reason at once when it is aborted, before or meanwhile', async () => {
    await expect(unlessAborted(Promise.resolve(7), AbortSignal.abort(late()))).rejects.toThrow('late');
    const abort = new AbortController();
    const waiting = unlessAborted(never, abort.signal);
    abort.abort(late());
    await expect(waiting).rejects.toThrow('late');
  });
});
