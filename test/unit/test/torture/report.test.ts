// A torture run is clean only if everything was looked at, and nothing happened that must not.
import { describe, expect, test } from 'vitest';
import { createFindings, type InvariantId } from '../../../support/oracle/verdict.ts';
import { faultClasses, planTorture } from '../../../torture/plan.ts';
import { judgeRun, type RunFacts } from '../../../torture/report.ts';

const plan = planTorture(1, 10, faultClasses);
const [first, second] = plan.faults;

function oracleThat(violates?: InvariantId) {
  const findings = createFindings();
  for (const id of ['I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'I7'] as const)
    findings.expect(id, id !== violates, () => 'order 7');
  findings.count('records committed', 5);
  return findings;
}

const clean: RunFacts = {
  plan,
  command: 'npm run torture -- --seed 1',
  seconds: 600,
  load: { steps: 9, failures: new Map([['57P01', 2]]), additions: 1, edits: 1, unknown: 0 },
  faults: [first!, second!],
  recoveries: [
    { fault: first!, ms: 1_500, alone: true },
    { fault: second!, ms: 4_000, alone: false },
  ],
  notRecovered: [],
  troubles: [],
  replays: { runs: 1, records: 10, changed: 0 },
  oracle: oracleThat().verdict(),
};

describe('the verdict of a torture run', () => {
  test('is clean when all holds, and tells recoveries by kind, disturbed ones apart', () => {
    const { clean: isClean, text } = judgeRun(clean);
    expect(isClean).toBe(true);
    expect(text).toContain('57P01 2');
    expect(text).toMatch(new RegExp(`${first!.kind} +1 × +1\\.5 s +-`));
    expect(text).toMatch(new RegExp(`${second!.kind} +1 × +- +4\\.0 s`));
    for (const id of ['I1', 'I8', 'I11']) expect(text).toMatch(new RegExp(` ${id} .*holds`));
  });

  test.each<[string, Partial<RunFacts>, RegExp]>([
    ['the oracle found something', { oracle: oracleThat('I3').verdict() }, /I3: order 7[\s\S]*differs: order 7/],
    ['the oracle could not read', { oracle: undefined }, /not judged/],
    ['something did not come back', { notRecovered: ['Waited in vain'] }, /I8: Waited in vain/],
    ['a service halted', { troubles: ['reader-0 (life 1, process 9) halted: SLOT_AHEAD: …'] }, /I11: reader-0/],
    ['a service crashed', { troubles: ['sink-1 (life 1, process 9) ended by itself with 1'] }, /trouble: sink-1/],
    ['a replay changed carts', { replays: { runs: 1, records: 10, changed: 2 } }, /I10: .*changed 2/],
  ])('fails when %s', (_, change, expected) => {
    const { clean: isClean, text } = judgeRun({ ...clean, ...change });
    expect(isClean).toBe(false);
    expect(text).toMatch(expected);
    expect(text).toContain('--seed 1');
  });

  test('fails when a record could not be read', () => {
    const findings = oracleThat();
    findings.count('records unreadable', 1);
    expect(judgeRun({ ...clean, oracle: findings.verdict() }).text).toMatch(/I9: 1 records/);
  });
});
