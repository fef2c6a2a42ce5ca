// The two captured tables and their columns, stated once: preflight, fingerprint, row decoding, initial snapshot and the
// checks of the tools derive from it. Of each column, the types whose text the reader can make an event of. Any further
// column or table belongs to somebody else. Type OIDs are those of Postgres's built-in types
// (src/include/catalog/pg_type.dat), the same on every server; a domain has an OID of its own and is not readable.
// How to add a column: docs/changing-the-event.md.

interface ReadableType {
  /** As format_type prints it, without length. */
  readonly name: string;
  readonly oid: number;
}

/** Column → the types that it may have; the first is the one that the migrations give it. */
export type ContractColumns = Readonly<Record<string, readonly ReadableType[]>>;

export type ContractTable = 'orders' | 'order_items';

const TEXT: readonly ReadableType[] = [
  { name: 'text', oid: 25 },
  { name: 'character varying', oid: 1043 },
];
/** char(n) pads with blanks, which are part of the row's text: of a code with a fixed length only it has none. */
const CODE: readonly ReadableType[] = [...TEXT, { name: 'character', oid: 1042 }];
const INTEGER: readonly ReadableType[] = [
  { name: 'bigint', oid: 20 },
  { name: 'integer', oid: 23 },
  { name: 'smallint', oid: 21 },
];
const UUID: readonly ReadableType[] = [{ name: 'uuid', oid: 2950 }];
const TIMESTAMP: readonly ReadableType[] = [{ name: 'timestamp with time zone', oid: 1184 }];

export const contractSchema = 'public';

const columns = {
  orders: {
    order_id: UUID,
    user_id: TEXT,
    source: TEXT,
    currency: CODE,
    total_cents: INTEGER,
    placed_at: TIMESTAMP,
  },
  order_items: {
    order_id: UUID,
    line_no: INTEGER,
    sku: TEXT,
    quantity: INTEGER,
    unit_price_cents: INTEGER,
    cart_line_id: [...UUID, ...TEXT],
  },
} satisfies Record<ContractTable, ContractColumns>;

export const contractTables: Readonly<Record<ContractTable, ContractColumns>> = columns;

export const contractTableNames: readonly ContractTable[] = ['orders', 'order_items'];

/** A row's contract columns as Postgres prints them (ISO dates, UTC); null for NULL. */
export type ContractRow<T extends ContractTable> = Readonly<Record<keyof (typeof columns)[T], string | null>>;

/** Whether the reader can make an event of a contract column of this type. */
export function isReadable(table: ContractTable, column: string, typeOid: number): boolean {
  return contractTables[table][column]?.some(({ oid }) => oid === typeOid) ?? false;
}

/** Contract column → its number in the order of `contractTables`. */
export function columnNumbers<T extends ContractTable>(table: T): Readonly<Record<keyof (typeof columns)[T], number>> {
  return Object.fromEntries(Object.keys(columns[table]).map((column, number) => [column, number])) as never;
}
