// A fingerprint becomes the baseline only if publication and tables met the requirements at its moment (I1).
import { describe, expect, it } from 'vitest';
import type { PreflightFacts } from '../../../../cdc-reader/startup/preflight.ts';
import { requireUsableCapture } from '../../../../cdc-reader/startup/usable-capture.ts';
import { exampleCapture, exampleTable, visibleCapture } from '../../../support/examples/capture.ts';
import { goodFacts } from '../../../support/examples/preflight-facts.ts';

const names = { slotName: 'tillstream', publicationName: 'tillstream', applicationName: 'tillstream-cdc-reader' };
const ordersAs = (change: Parameters<typeof exampleTable>[1]) =>
  exampleCapture({ tables: { ...exampleCapture().tables, orders: exampleTable('orders', change) } });
const check = (fingerprint = exampleCapture(), facts: Partial<PreflightFacts> = {}) =>
  requireUsableCapture(names, { preflightFacts: async () => ({ ...goodFacts, ...facts }) }, fingerprint);

describe('a fingerprint to be recorded', () => {
  it('is accepted where it is that of the facts, and these meet the requirements', async () => {
    await expect(check()).resolves.toBeUndefined();
  });

  it.each<[string, Partial<PreflightFacts>, string]>([
    [
      'a publication without inserts',
      { publication: { ...goodFacts.publication!, inserts: false } },
      'PUBLICATION_WITHOUT_INSERTS',
    ],
    ['an unlogged table', { capture: visibleCapture(ordersAs({ persistence: 'u' })) }, 'TABLE_UNLOGGED'],
    ['a table with children', { capture: visibleCapture(ordersAs({ children: 1 })) }, 'TABLE_HAS_CHILDREN'],
  ])('waits by name with %s, although nothing changes any more', async (_, facts, code) => {
    const fingerprint = facts.capture?.fingerprint ?? exampleCapture();
    await expect(check(fingerprint, facts)).rejects.toMatchObject({ code: 'PREFLIGHT', problems: [{ code }] });
  });

  it('is read again where the facts are already of other tables', async () => {
    await expect(check(ordersAs({ oid: 17_000 }))).rejects.toMatchObject({ code: 'CAPTURE_UNSTEADY' });
  });
});
