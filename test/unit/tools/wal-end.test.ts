import { describe, expect, it } from 'vitest';
import { parseLsn } from '#schemas/lsn.ts';
import { toReachableWalEnd } from '../../../tools/wal-end.ts';

describe('the end of the WAL', () => {
  it.each([
    ['0/2000018', '0/2000000'],
    ['0/2000028', '0/2000000'],
    ['0/2002018', '0/2002000'],
    ['0/2000030', '0/2000030'],
    ['0/20000F8', '0/20000F8'],
    ['0/2000000', '0/2000000'],
  ])('%s is reached at %s: nothing is written behind a page header', (shown, reached) => {
    expect(toReachableWalEnd(parseLsn(shown))).toBe(parseLsn(reached));
  });
});
