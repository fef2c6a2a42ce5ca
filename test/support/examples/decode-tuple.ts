// A row of pgoutput as text, for tests that compare what came; the product copies values as bytes.

import { locateValues } from '../../../cdc-reader/encode/tuple.ts';
import { decodeUtf8, type PgoutputMessage } from '../../../cdc-reader/postgres/pgoutput.ts';

type Insert = Extract<PgoutputMessage, { kind: 'insert' }>;

export const insertOf = (relationOid: number, tuple: Buffer): Insert => ({
  kind: 'insert',
  relationOid,
  bytes: tuple,
  start: 0,
  end: tuple.length,
});

/** A view of the row. */
export const rowOf = ({ bytes, start, end }: Insert): Buffer => bytes.subarray(start, end);

/** The values of a row; null for NULL, for a value that was not sent again, and for one that is not `wanted`. */
export function decodeTuple(tuple: Buffer, columns: number, wanted?: readonly boolean[]): (string | null)[] {
  const spans = new Int32Array(2 * columns);
  locateValues(tuple, 0, tuple.length, columns, spans);
  return Array.from({ length: columns }, (_, column) => {
    const start = spans[2 * column]!;
    if (start < 0 || wanted?.[column] === false) return null;
    return decodeUtf8(tuple, start, spans[2 * column + 1]!);
  });
}
