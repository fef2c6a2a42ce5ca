// What the library writes for each position that it is handed, byte by byte: exactly that position (I7).
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRawService } from '../../cdc-reader/postgres/raw-replication.ts';
import { formatForLibrary } from '../../cdc-reader/postgres/standby-status.ts';
import { LSN_ZERO, type Lsn, toLsn } from '../../schemas/lsn.ts';

/** The status message that goes to the socket, from a service that believes it streams. */
function writeStatus(throughLsn: Lsn): Buffer {
  const service = createRawService({});
  const written: Buffer[] = [];
  Object.assign(service, { _stop: false, _connection: { sendCopyFromChunk: (chunk: Buffer) => written.push(chunk) } });
  void service.acknowledge(formatForLibrary(throughLsn));
  expect(written).toHaveLength(1);
  return written[0]!;
}

const low32 = fc.constantFrom(0n, 1n, 2n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_fffen, 0xffff_ffffn);
const edges = fc.tuple(low32, low32).map(([high, low]) => (high << 32n) | low);
const positions = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), edges).map(toLsn);

describe('a standby status', () => {
  it('says written, flushed and applied exactly up to the acknowledged position', () => {
    fc.assert(
      fc.property(positions, (throughLsn) => {
        const status = writeStatus(throughLsn);
        expect(status.toString('latin1', 0, 1)).toBe('r');
        expect([1, 9, 17].map((offset) => status.readBigUInt64BE(offset))).toEqual(Array(3).fill(throughLsn));
      }),
      { numRuns: 2_000 },
    );
  });

  it('says 0/0, which Postgres takes for no confirmation, before the first acknowledgement', () => {
    expect(writeStatus(LSN_ZERO).readBigUInt64BE(9)).toBe(0n);
  });
});
