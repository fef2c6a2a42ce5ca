// What is reported while a slot waits for transactions; with real ones: test/fault/reader/slot-waits.test.ts.
import { describe, expect, it, vi } from 'vitest';
import type { TransactionHolder } from '../../../../../cdc-reader/postgres/source-session.ts';
import { reportSlotWaits } from '../../../../../cdc-reader/startup/first-start/slot-waits.ts';
import { createScope } from '../../../../../cdc-reader/supervise/scope.ts';

const session: TransactionHolder = {
  pid: 7,
  what: 'psql',
  database: 'other',
  state: 'idle in transaction',
  since: '2026-01-01T00:00:00Z',
};
const hidden: TransactionHolder = { pid: 8, what: '', database: null, state: null, since: null };
const prepared: TransactionHolder = { ...session, pid: null, what: 'two-phase', state: 'prepared' };

/** Runs a creation that ends once these answers were read. */
async function report(answers: readonly (readonly TransactionHolder[] | Error)[]) {
  const warn = vi.fn();
  const onWaiting = vi.fn();
  const onProgress = vi.fn();
  const scope = createScope();
  const left = [...answers];
  const { promise: read, resolve } = Promise.withResolvers<void>();
  const context = { config: { slotName: 'live' }, logger: { warn }, onWaiting, onProgress, scope };
  const source = {
    readTransactionHolders: async (pid: number) => {
      expect(pid).toBe(42);
      const next = left.shift() ?? [];
      if (left.length === 0) setTimeout(resolve, 5);
      if (next instanceof Error) throw next;
      return [...next];
    },
  };
  const create = async (onStarted: (pid: number) => void) => {
    onStarted(42);
    await read;
    return 'created';
  };
  const result = await reportSlotWaits(context as never, source, create, 1);
  return { result, warnings: warn.mock.calls.map(([, text]) => text as string), onWaiting, onProgress, scope };
}

describe('a slot that is being created', () => {
  it('names sessions and prepared transactions, since when, and how they are ended', async () => {
    const { result, warnings, onWaiting, onProgress } = await report([[session, hidden, prepared]]);
    expect(result).toBe('created');
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('pid 7 (psql) of database other, idle in transaction, since 2026-01-01T00:00:00Z');
    expect(warnings[0]).toContain('pid 8 (no application_name) of database unknown, state hidden from this role');
    expect(warnings[0]).toContain('prepared transaction two-phase of database other');
    expect(warnings[0]).toContain('pg_terminate_backend(pid)');
    expect(onWaiting.mock.calls.map(([why]) => (why as Error).message)).toEqual([warnings[0]]);
    expect(onProgress).toHaveBeenCalledOnce();
  });

  it('reports the same once, and a change again', async () => {
    expect((await report([[session], [session], [hidden], [hidden]])).warnings).toHaveLength(2);
  });

  it('that waits for nobody reports nothing', async () => {
    const { warnings, onWaiting } = await report([[], []]);
    expect([warnings, onWaiting.mock.calls]).toEqual([[], []]);
  });

  it('ends its start when the session is gone', async () => {
    const { scope } = await report([new Error('gone')]);
    await expect(scope.failed).rejects.toThrow('gone');
  });
});
