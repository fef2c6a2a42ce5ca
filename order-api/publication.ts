/**
 * The publication that the reader decodes: both tables, inserts only. It is created once and never altered.
 *
 * Guarantees that an existing publication stays as it is: rows inserted around an ALTER are lost without an error. One
 * that does not publish every order completely is refused, with the remedy. Later changes are left to the reader's
 * publication check.
 */
import type { ConnectionPool } from '@databases/pg';
import { WaitingError } from '#service/failure.ts';
import { createPublication, lockPublication, type PublicationRow, selectPublication } from './sql/publication.ts';

/** The publication exists and does not publish every order completely. */
export class UnfitPublicationError extends WaitingError {
  readonly code = 'UNFIT_PUBLICATION';
  override readonly name = 'UnfitPublicationError';

  constructor(name: string, lacks: readonly string[]) {
    super(
      `The publication "${name}" exists but does not publish ${lacks.join(', ')}. It is not altered here, because ` +
        'rows inserted around such a change are lost without an error. Set PUBLICATION_NAME (of order-api and ' +
        'cdc-reader) to an unused name, which order-api then creates; or, if no reader has ever used this ' +
        `publication, run DROP PUBLICATION "${name}" and start order-api again.`,
    );
  }
}

const TABLES = ['orders', 'order_items'];

/** What the publication leaves out of the two tables, in words; empty if nothing. Further tables don't matter. */
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
 * @throws UnfitPublicationError if an existing one leaves something out
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
