// What a session whose settings do not hold, or that a pooler hands around, is called.
import { describe, expect, it } from 'vitest';
import { isDatabaseAway } from '#service/database.ts';
import {
  explainConnectError,
  isUnfitSession,
  NO_LIMITS,
  prepareSession,
  type SessionClient,
  sessionSettings,
} from '#service/postgres/session.ts';

const settings = sessionSettings({
  statementTimeoutMs: 5_000,
  lockTimeoutMs: 3_000,
  idleInTransactionTimeoutMs: 4_000,
});

/** A server whose session shows `found`, as process `pid`. */
function createClient(
  found: object,
  { pid = 7, processID = 7 as number | null, refusal = undefined as object | undefined } = {},
) {
  const texts: string[] = [];
  const client: SessionClient = {
    processID,
    async query(text) {
      texts.push(text);
      if (refusal !== undefined) throw Object.assign(new Error('permission denied to set parameter'), refusal);
      return { rows: texts.length === 1 ? [] : [{ pid, settings: JSON.stringify(found) }] };
    },
  };
  return { client, texts };
}

describe('a session', () => {
  it('is set and read back, each in one statement', async () => {
    const { client, texts } = createClient(settings);
    await prepareSession(client, settings);
    expect(texts).toHaveLength(2);
    expect(texts[0]).toContain('"statement_timeout":"5000"');
  });

  it('without a setting that this server does not know is fine', async () => {
    const { transaction_timeout: _, ...older } = settings;
    await prepareSession(createClient(older).client, settings);
  });

  it('whose setting differs afterwards is refused with its name and both values', async () => {
    const { client } = createClient({ ...settings, DateStyle: 'German, DMY' });
    const error = await prepareSession(client, settings).catch((reason) => reason);
    expect(error).toMatchObject({ code: 'SESSION_SETTINGS', remedy: expect.stringContaining('ALTER ROLE') });
    expect(error.message).toContain("DateStyle is 'German, DMY' instead of 'ISO, MDY'");
    expect(isUnfitSession(error)).toBe(true);
    // Callers wait, as for a database that is away.
    expect(isDatabaseAway(error)).toBe(true);
  });

  it('that may not set something is refused with what Postgres says', async () => {
    const { client } = createClient(settings, { refusal: { code: '42501' } });
    await expect(prepareSession(client, settings)).rejects.toMatchObject({ code: 'SESSION_SETTINGS' });
    const broken = createClient(settings, { refusal: { code: '08006' } });
    await expect(prepareSession(broken.client, settings)).rejects.toMatchObject({ code: '08006' });
  });

  it('of another process than the client was told, with other settings, is one of a pooler in transaction mode', async () => {
    const { client } = createClient({ ...settings, lock_timeout: '0' }, { pid: 8, processID: 7 });
    await expect(prepareSession(client, settings)).rejects.toMatchObject({
      code: 'POOLER_UNFIT',
      message: expect.stringContaining('pool_mode=session'),
    });
  });

  it('is not compared by what sockets and systems do not show', async () => {
    const more = sessionSettings(NO_LIMITS, { tcp_user_timeout: '25000' });
    await prepareSession(createClient({ ...more, tcp_user_timeout: '0' }).client, more);
  });

  it('that a pooler refuses at its start is named', () => {
    const refused = Object.assign(new Error('unsupported startup parameter: replication'), { code: '08P01' });
    expect(explainConnectError(refused)).toMatchObject({ code: 'POOLER_UNFIT', cause: refused });
    const other = new Error('password authentication failed');
    expect(explainConnectError(other)).toBe(other);
  });
});
