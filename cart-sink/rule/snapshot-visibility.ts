/** What a stored `pg_snapshot` could see. Pure; ids and snapshots are in their text forms. */

/** As pg_visible_in_snapshot: whether `xid` had ended when `snapshot` ('xmin:xmax:xip,…') was taken. */
export function isVisible(xid: string, snapshot: string): boolean {
  const { xmin, xmax, running } = parseSnapshot(snapshot);
  const id = BigInt(xid);
  return id < xmin || (id < xmax && !running.includes(id));
}

/** A transaction that `snapshot` and every later snapshot sees. */
export function olderThan(snapshot: string): string {
  return String(parseSnapshot(snapshot).xmin - 1n);
}

function parseSnapshot(snapshot: string) {
  const [xmin, xmax, running] = snapshot.split(':');
  if (running === undefined) throw new Error(`not the text of a pg_snapshot: ${snapshot}`);
  const ids = running === '' ? [] : running.split(',').map(BigInt);
  return { xmin: BigInt(xmin!), xmax: BigInt(xmax!), running: ids };
}
