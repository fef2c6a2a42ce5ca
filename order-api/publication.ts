/**
 * The publication that the reader decodes: created once, with both tables and inserts only, and then left alone.
 *
 * Guarantees that an existing publication is never altered: rows inserted around such a change are lost without an
 * error. One that can't carry every order is refused, with the repair. Whether its catalogue rows stay the same from
 * then on is the reader's to watch.
 */
import type { ConnectionPool } from '@databases/pg';
import { createPublication } from './sql/create-publication.ts';
import { lockPublication } from './sql/lock-publication.ts';
import { type PublicationRow, selectPublication } from './sql/select-publication.ts';

/** The publication exists and would leave out orders or parts of them. */
export class UnfitPublicationError extends Error {
  readonly code = 'UNFIT_PUBLICATION';
  override readonly name = 'UnfitPublicationError';

  constructor(name: string, lacks: readonly string[]) {
    super(
      `The publication "${name}" exists but does not publish ${lacks.join(', ')}. It is not altered here, because ` +
        'rows inserted around such a change are lost without an error. Set PUBLICATION_NAME (of order-api and ' +
        'cdc-reader) to a name that is not taken, which order-api then creates; or, if no reader has ever used this ' +
        `publication, run DROP PUBLICATION "${name}" and start order-api again.`,
    );
  }
}

const TABLES = ['orders', 'order_items'];

/** What of every order's rows the publication leaves out, in words; nothing when it is fit. Further tables don't matter. */
export function findLacks(publication: PublicationRow): readonly string[] {
  const tables = TABLES.filter((table) => !publication.whole_tables.includes(table));
  return [
    ...tables.map((table) => `all rows and columns of public.${table}`),
    ...(publication.publishes_insert ? [] : ['inserts']),
  ];
}

/**
 * Creates the publication unless it exists; safe to run by several services at once.
 * @returns whether it was created
 * @throws UnfitPublicationError when an existing one leaves something out
 */
export async function ensurePublication(pool: ConnectionPool, name: string): Promise<boolean> {
  return pool.tx(async (transaction) => {
    await transaction.query(lockPublication);
    const [existing] = (await transaction.query(selectPublication(name))) as PublicationRow[];
    if (existing === undefined) {
      await transaction.query(createPublication(name));
      return true;
    }
    const lacks = findLacks(existing);
    if (lacks.length > 0) throw new UnfitPublicationError(name, lacks);
    return false;
  });
}
