// Whether queries can see what a transaction has done. Postgres writes a COMMIT to the WAL, from where the stream brings it,
// before it takes the transaction off the list of those in progress: under load, or while it waits for a synchronous
// standby, a catalogue that is read at once is that of before. Pure; asking the server is source-session.ts's.

const XID_RANGE = 2n ** 32n;

/**
 * @param snapshot `pg_current_snapshot()` as text: xmin, xmax and the transactions in progress between them, of 64 bits
 * (documentation, "Transaction ID and Snapshot Information Functions")
 * @param xid of 32 bits, as a BEGIN of the stream has it
 */
export function isInProgress(snapshot: string, xid: number): boolean {
  const [, xmaxText, list] = snapshot.split(':') as [string, string, string];
  const xmax = BigInt(xmaxText);
  let full = xmax - (xmax % XID_RANGE) + BigInt(xid);
  if (full > xmax + XID_RANGE / 2n) full -= XID_RANGE;
  else if (full < xmax - XID_RANGE / 2n) full += XID_RANGE;
  return full >= xmax || list.split(',').includes(String(full));
}
