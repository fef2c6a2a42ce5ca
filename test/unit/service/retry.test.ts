import { describe, expect, it } from 'vitest';
import { backOffMs, type RetryPolicy, retry } from '#service/retry.ts';

const backOff = { firstMs: 1, longestMs: 4 };
const gone = () => new Error('gone');

/** Fails with each of `failures`, then returns the number of calls. */
function createWork(...failures: Error[]) {
  const state = { calls: 0 };
  const work = async (): Promise<number> => {
    state.calls += 1;
    const failure = failures.shift();
    if (failure !== undefined) throw failure;
    return state.calls;
  };
  return { state, work };
}

const always: RetryPolicy = { backOff, isTransient: () => true };

describe('the back-off', () => {
  it('doubles from the first wait to the longest, for any number of attempts', () => {
    const waits = [1, 2, 3, 4, 5, 50, 5_000].map((attempt) => backOffMs({ firstMs: 100, longestMs: 1_000 }, attempt));
    expect(waits).toEqual([100, 200, 400, 800, 1_000, 1_000, 1_000]);
  });

  it('with randomness is shorter by up to a quarter', () => {
    const waitAt = (value: number) => backOffMs({ firstMs: 100, longestMs: 1_000, random: () => value }, 3);
    expect([waitAt(0), waitAt(0.5), waitAt(1)]).toEqual([300, 350, 400]);
  });
});

describe('a retry', () => {
  it('returns what the first attempt that succeeds returns, and reports each wait', async () => {
    const waits: number[] = [];
    const { work } = createWork(gone(), gone(), gone(), gone());
    expect(await retry(work, { ...always, onRetry: (_, waitMs) => waits.push(waitMs) })).toBe(5);
    expect(waits).toEqual([1, 2, 4, 4]);
  });

  it('ends at an error that is not transient, with that very error', async () => {
    const defect = new Error('bug');
    const { state, work } = createWork(gone(), defect);
    await expect(retry(work, { ...always, isTransient: (error) => error !== defect })).rejects.toBe(defect);
    expect(state.calls).toBe(2);
  });

  it('counts the failures for whoever limits them', async () => {
    const { state, work } = createWork(gone(), gone(), gone(), gone());
    const limited = retry(work, { ...always, isTransient: (_, attempt) => attempt < 3 });
    await expect(limited).rejects.toThrow('gone');
    expect(state.calls).toBe(3);
  });

  it('does not begin when its signal is aborted already', async () => {
    const { state, work } = createWork();
    await expect(retry(work, { ...always, signal: AbortSignal.abort(gone()) })).rejects.toThrow('gone');
    expect(state.calls).toBe(0);
  });

  it('stops waiting when its signal is aborted', async () => {
    const abort = new AbortController();
    const { state, work } = createWork(gone());
    const policy = { ...always, backOff: { firstMs: 60_000, longestMs: 60_000 }, signal: abort.signal };
    await expect(retry(work, { ...policy, onRetry: () => abort.abort() })).rejects.toThrow('aborted');
    expect(state.calls).toBe(1);
  });

  it('reports an abort, not the failure that the abort has caused', async () => {
    const abort = new AbortController();
    const work = async () => {
      abort.abort(new Error('stopping'));
      throw gone();
    };
    await expect(retry(work, { ...always, signal: abort.signal })).rejects.toThrow('stopping');
  });
});
