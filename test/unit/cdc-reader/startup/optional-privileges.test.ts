import { describe, expect, it } from 'vitest';
import { findMissingPrivileges } from '../../../../cdc-reader/startup/optional-privileges.ts';
import { findPreflightProblems, type PreflightFacts } from '../../../../cdc-reader/startup/preflight.ts';
import { goodFacts } from '../../../support/examples/preflight-facts.ts';

const find = (change: Partial<PreflightFacts>, keepsWindow = true) =>
  findMissingPrivileges({ ...goodFacts, ...change }, { keepsWindow });

describe('a privilege that the reader can do without', () => {
  it('is not named where the role has it', () => {
    expect(find({})).toEqual([]);
  });

  it.each<[Partial<PreflightFacts>, RegExp, string]>([
    [{ mayReadAllStats: false }, /only its process id/, 'GRANT pg_read_all_stats TO reader'],
    [
      { mayLogRestartPoints: false },
      /REPLAY_WINDOW_BYTES/,
      'GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO reader',
    ],
  ])('is named with what its lack costs, and what grants it (%o)', (change, cost, grant) => {
    const [warning, ...others] = find(change);
    expect(others).toEqual([]);
    expect(warning).toMatch(cost);
    expect(warning).toContain(grant);
    expect(findPreflightProblems({ ...goodFacts, ...change }, { publicationName: 'p', applicationName: 'a' })).toEqual(
      [],
    );
  });

  it('is not named for a window that is not kept', () => {
    expect(find({ mayLogRestartPoints: false }, false)).toEqual([]);
  });
});
