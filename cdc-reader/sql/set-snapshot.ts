import { type SQLQuery, sql } from '@databases/pg';

/** As Postgres names exported snapshots; checked, because this command takes no parameters. */
const SNAPSHOT_NAME = /^[0-9A-Fa-f-]{1,64}$/;

/** Makes the transaction see what the exported snapshot saw. Its first statement. */
export function setSnapshot(snapshotName: string): SQLQuery {
  if (!SNAPSHOT_NAME.test(snapshotName)) throw new RangeError(`${JSON.stringify(snapshotName)} is no snapshot name.`);
  return sql`SET TRANSACTION SNAPSHOT ${sql.__dangerous__rawValue(`'${snapshotName}'`)}`;
}
