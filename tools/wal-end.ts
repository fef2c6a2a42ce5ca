import { type Lsn, toLsn } from '#schemas/lsn.ts';

const PAGE_BYTES = 8_192n;
/** A page's header, and that of a segment's first page. */
const PAGE_HEADERS: readonly bigint[] = [24n, 40n];

/**
 * The end of the WAL as a replication stream can reach it. At a page's end Postgres reports where the next record will
 * start, behind the header of a page that is still empty: on an idle server no stream gets there. No record fits in between.
 */
export function toReachableWalEnd(walEnd: Lsn): Lsn {
  const inPage = walEnd % PAGE_BYTES;
  return PAGE_HEADERS.includes(inPage) ? toLsn(walEnd - inPage) : walEnd;
}
