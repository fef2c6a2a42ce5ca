// Expands the records of a batch by any codec that Kafka has. Guarantees: the limit is checked while bytes come out, so that
// a small batch that expands without end costs no more memory than the limit; whatever else is wrong is one kind of error.
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { ExpansionLimitError } from './bounded-output.ts';
import { expandLz4 } from './lz4.ts';
import { expandSnappy } from './snappy.ts';

const CHUNK_BYTES = 64 * 1_024;
const CODECS: Readonly<Record<number, { name: string; expand: (bytes: Buffer, limit: number) => Buffer }>> = {
  1: { name: 'gzip', expand: (bytes, limit) => gunzipSync(bytes, { maxOutputLength: limit, chunkSize: CHUNK_BYTES }) },
  2: { name: 'snappy', expand: expandSnappy },
  3: { name: 'lz4', expand: expandLz4 },
  4: {
    name: 'zstd',
    expand: (bytes, limit) => zstdDecompressSync(bytes, { maxOutputLength: limit, chunkSize: CHUNK_BYTES }),
  },
};

/**
 * Expands `bytes` by the codec of a batch's attributes; 0 is none.
 * @throws ExpansionLimitError above `limit`; RangeError, with a clause that says what is wrong, for damaged bytes
 */
export function expand(codec: number, bytes: Buffer, limit: number): Buffer {
  if (codec === 0) {
    if (bytes.length > limit) throw new ExpansionLimitError(limit);
    return bytes;
  }
  const known = CODECS[codec];
  if (known === undefined) throw new RangeError(`it is compressed by codec ${codec}, which this version does not know`);
  try {
    return known.expand(bytes, limit);
  } catch (error) {
    if (error instanceof ExpansionLimitError) throw error;
    if ((error as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE') throw new ExpansionLimitError(limit);
    throw new RangeError(`its ${known.name} data can't be expanded: ${(error as Error).message}`, { cause: error });
  }
}
