// Which directories can't take the rows of a large transaction; a read-only disk and a full one are in test/fault/reader/spill.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findSpillProblems } from '../../../../cdc-reader/startup/spill-directory.ts';

describe('SPILL_DIRECTORY', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tillstream-test-'));
    writeFileSync(join(directory, 'file'), '');
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it('may be any directory that can be written to', () => {
    expect(findSpillProblems(directory)).toEqual([]);
  });

  it.each([
    ['missing', 'does not exist'],
    ['file', 'is not a directory'],
    ['file/below', "can't be written to (ENOTDIR)"],
  ])('%s is a problem', (name, why) => {
    const path = join(directory, name);
    const [problem] = findSpillProblems(path);
    expect(problem).toMatchObject({ code: 'SPILL_DIRECTORY' });
    expect(problem!.problem).toContain(`SPILL_DIRECTORY (${path}) ${why}`);
  });
});
