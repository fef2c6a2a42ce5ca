// Snapshots as Postgres prints them, across the wraparound of the 32 bits that the stream has of a transaction id.
import { describe, expect, it } from 'vitest';
import { isInProgress } from '../../../../cdc-reader/postgres/visible-transaction.ts';

const epoch = 2n ** 32n;

describe('a transaction', () => {
  it.each<[string, number, boolean]>([
    ['100:100:', 99, false],
    ['100:100:', 100, true],
    ['90:100:90,95', 95, true],
    ['90:100:90,95', 94, false],
    [`${5n * epoch + 10n}:${5n * epoch + 20n}:${5n * epoch + 12n}`, 12, true],
    [`${5n * epoch + 10n}:${5n * epoch + 20n}:${5n * epoch + 12n}`, 13, false],
    [`${5n * epoch - 4n}:${5n * epoch + 20n}:${5n * epoch - 3n}`, 2 ** 32 - 3, true],
    [`${5n * epoch - 4n}:${5n * epoch + 20n}:${5n * epoch - 3n}`, 2 ** 32 - 2, false],
    [`${5n * epoch - 4n}:${5n * epoch - 2n}:`, 7, true],
  ])('in the snapshot %s: %i in progress: %s', (snapshot, xid, expected) => {
    expect(isInProgress(snapshot, xid)).toBe(expected);
  });
});
