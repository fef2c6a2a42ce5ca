// Who the captured tables are: a fingerprint of the catalogue rows behind the publication and the two tables, kept in the
// checkpoint and compared field by field (I1, I11). A table that was renamed, swapped or moved keeps its rows out of the
// stream without an error; the catalogue keeps the traces: OIDs, and the xmin of rows that a rename and back rewrites.
// Pure, and the same whatever role asks. What the reader's role may read is no part of it. When to compare is the
// publication check's; the facts about xmin are pinned by test/contract/postgres-catalogue.test.ts.
import {
  type ContractTable,
  contractSchema,
  contractTableNames,
  contractTables,
  isReadable,
} from './contract-tables.ts';

/** A catalogue row. `xmin` is the transaction that wrote it last; owner and ACL are what may change it harmlessly. */
export interface CatalogueRow {
  readonly oid: number;
  readonly xmin: string;
  readonly owner: number;
  readonly acl: string | null;
  /** The same by the OIDs of the roles: a renamed role changes the text. Absent in checkpoints of earlier versions. */
  readonly grants?: string | null;
}

/** An entry of pg_publication_rel or pg_publication_namespace; `of` is the table or schema that it publishes. */
interface PublicationMember {
  readonly oid: number;
  readonly xmin: string;
  readonly of: number;
}

export interface PublicationFingerprint extends CatalogueRow {
  /** Absent in checkpoints of earlier versions, whose readers streamed only while it was true. */
  readonly inserts?: boolean;
  readonly allTables: boolean;
  readonly tables: readonly PublicationMember[];
  readonly schemas: readonly PublicationMember[];
}

/** What has the contract's name in the contract's schema. */
export interface TableFingerprint {
  readonly oid: number;
  /** pg_class.relkind: `r` is an ordinary table. */
  readonly kind: string;
  /** pg_class.relpersistence: `p` is permanent; nothing else is in the WAL. */
  readonly persistence: string;
  readonly isPartition: boolean;
  readonly children: number;
  /** pg_class.relhassubclass and relhasrules, which stay true for a while when the last child or rule is gone. */
  readonly hadChildren: boolean;
  readonly hadRules: boolean;
  readonly rules: number;
  /** `oid/xmin` of each rule on INSERT. */
  readonly insertRules: readonly string[];
  /** Contract column → [attnum, type OID]. */
  readonly columns: Readonly<Record<string, readonly [number, number]>>;
  /** The table's row type in pg_type: RENAME, SET SCHEMA and OWNER TO rewrite it, other changes of the table don't. */
  readonly rowType: CatalogueRow;
  readonly relfilenode: number;
}

export interface CaptureFingerprint {
  readonly publication: PublicationFingerprint | null;
  readonly schema: CatalogueRow | null;
  readonly tables: Readonly<Record<ContractTable, TableFingerprint | null>>;
}

/** What a checkpoint has recorded: version 1 knew the rows of the publication only, as one line of text. */
export type RecordedCapture = CaptureFingerprint | { readonly version1: string };

/** `subject`: what the reader halts for. `children` is a table's kind of change that ends by itself at a start. */
export interface CaptureDifference {
  readonly subject: 'publication' | 'table' | 'children';
  readonly field: string;
  readonly expected: string;
  readonly found: string;
}

/** `warnings`: changes that lose nothing, or can't be told from such; `found` takes the place of what was recorded. */
export interface CaptureComparison {
  readonly differences: readonly CaptureDifference[];
  readonly warnings: readonly string[];
}

/** Compares what was recorded with what is there now. Rows may be missing from the stream if there is any difference. */
export function compareCapture(recorded: RecordedCapture, found: CaptureFingerprint): CaptureComparison {
  const differences: CaptureDifference[] = [];
  const warnings: string[] = [];
  const differ: Differ = (subject, field, expected, actual) => {
    if (String(expected) !== String(actual)) {
      differences.push({ subject, field, expected: String(expected), found: String(actual) });
    }
  };
  if ('version1' in recorded) {
    compareVersion1(recorded.version1, found, differ);
    return { differences, warnings };
  }
  comparePublications(recorded.publication, found.publication, differ, warnings);
  compareRows('table', `schema ${contractSchema}`, recorded.schema, found.schema, differ, warnings);
  for (const table of contractTableNames) {
    compareTables(table, recorded.tables[table], found.tables[table], differ, warnings);
    const isListed = found.publication?.tables.some(({ of }) => of === found.tables[table]?.oid) ?? false;
    if (!isListed && recorded.tables[table]?.relfilenode !== found.tables[table]?.relfilenode) {
      warnings.push(
        `${contractSchema}.${table} was rewritten (relfilenode changed), and the publication does not list it by name, ` +
          'so it may have been UNLOGGED in between: run `npm run audit`',
      );
    }
  }
  return { differences, warnings };
}

type Differ = (subject: CaptureDifference['subject'], field: string, expected: unknown, found: unknown) => void;

function comparePublications(
  recorded: PublicationFingerprint | null,
  found: PublicationFingerprint | null,
  differ: Differ,
  warnings: string[],
): void {
  compareRows('publication', 'publication', recorded, found, differ, warnings);
  if (recorded === null || found === null) return;
  differ('publication', 'publication of inserts', recorded.inserts ?? true, found.inserts ?? true);
  differ('publication', 'publication all tables', recorded.allTables, found.allTables);
  differ('publication', 'publication tables', formatMembers(recorded.tables), formatMembers(found.tables));
  differ('publication', 'publication schemas', formatMembers(recorded.schemas), formatMembers(found.schemas));
}

/** An xmin that changed together with the owner or ACL beside it was written by a change of those. */
function compareRows(
  subject: CaptureDifference['subject'],
  what: string,
  recorded: CatalogueRow | null,
  found: CatalogueRow | null,
  differ: Differ,
  warnings: string[],
): void {
  differ(subject, `${what} oid`, recorded?.oid ?? 'none', found?.oid ?? 'none');
  if (recorded === null || found === null || recorded.oid !== found.oid) return;
  if (recorded.xmin === found.xmin) return;
  const areGrantsKnown = recorded.grants !== undefined && found.grants !== undefined;
  const isRegranted = areGrantsKnown ? recorded.grants !== found.grants : recorded.acl !== found.acl;
  const isExplained = recorded.owner !== found.owner || isRegranted;
  if (isExplained) {
    warnings.push(
      `owner or privileges of the ${what} changed; a rename and back in the same moment can't be told from that`,
    );
  } else differ(subject, `${what} xmin`, recorded.xmin, found.xmin);
}

function compareTables(
  table: ContractTable,
  recorded: TableFingerprint | null,
  found: TableFingerprint | null,
  differ: Differ,
  warnings: string[],
): void {
  const name = `${contractSchema}.${table}`;
  differ('table', `${name} oid`, recorded?.oid ?? 'none', found?.oid ?? 'none');
  if (recorded === null || found === null || recorded.oid !== found.oid) return;
  differ('table', `${name} kind`, recorded.kind, found.kind);
  differ('table', `${name} persistence`, recorded.persistence, found.persistence);
  differ('table', `${name} is a partition`, recorded.isPartition, found.isPartition);
  differ('children', `${name} children`, recorded.children, found.children);
  if (recorded.children === 0 && found.children === 0 && !recorded.hadChildren) {
    differ('table', `${name} had children meanwhile`, false, found.hadChildren);
  }
  differ('table', `${name} rules on INSERT`, recorded.insertRules, found.insertRules);
  if (!recorded.hadRules && found.rules === 0) differ('table', `${name} had rules meanwhile`, false, found.hadRules);
  for (const column of Object.keys(contractTables[table])) {
    const [before, after] = [recorded.columns[column], found.columns[column]];
    // Preflight refuses a table without a contract column: the version that recorded this did not have it in its contract.
    if (before === undefined) continue;
    differ('table', `${name}.${column} attnum`, before[0], after?.[0] ?? 'none');
    if (after === undefined) continue;
    const isStillReadable = isReadable(table, column, before[1]) && isReadable(table, column, after[1]);
    if (!isStillReadable) differ('table', `${name}.${column} type`, before[1], after[1]);
  }
  compareRows('table', `row type of ${name}`, recorded.rowType, found.rowType, differ, warnings);
}

/** What a table is called now. */
export interface TableName {
  readonly schema: string;
  readonly name: string;
  /** pg_class.relkind. */
  readonly kind: string;
}

/** The oids of the tables that were captured; none where version 1 recorded them. */
export function recordedOids(
  recorded: RecordedCapture,
): readonly { readonly table: ContractTable; readonly oid: number }[] {
  if ('version1' in recorded) return [];
  return contractTableNames.flatMap((table) => {
    const oid = recorded.tables[table]?.oid;
    return oid === undefined ? [] : [{ table, oid }];
  });
}

export interface CapturedTable {
  readonly oid: number;
  /** The contract's columns by attnum: the order in which the stream describes them. */
  readonly columns: readonly { readonly name: string; readonly attnum: number }[];
}

/** What the rows of the stream must belong to. @throws Error where the capture lacks a table, which no check lets pass */
export function requireCaptured({ tables }: CaptureFingerprint): Readonly<Record<ContractTable, CapturedTable>> {
  const { orders, order_items } = tables;
  if (orders === null || order_items === null) throw new Error('A captured table is missing.');
  const capturedOf = ({ oid, columns }: TableFingerprint): CapturedTable => {
    const byAttnum = Object.entries(columns).toSorted(([, [one]], [, [other]]) => one - other);
    return { oid, columns: byAttnum.map(([name, [attnum]]) => ({ name, attnum })) };
  };
  return { orders: capturedOf(orders), order_items: capturedOf(order_items) };
}

/** For each captured table that is no longer under its name, what it is called now. `names`: by oid, of those that exist. */
export function describeMoved(recorded: RecordedCapture, names: ReadonlyMap<number, TableName>): string[] {
  return recordedOids(recorded).flatMap(({ table, oid }) => {
    const now = names.get(oid);
    if (now?.schema === contractSchema && now.name === table) return [];
    const where = now === undefined ? 'does not exist any more' : `is now ${now.schema}.${now.name}`;
    return [`The captured ${contractSchema}.${table} (oid ${oid}) ${where}.`];
  });
}

/** The rows of the publication as version 1 recorded them, and that they still publish the tables of the contract. */
function compareVersion1(recorded: string, found: CaptureFingerprint, differ: Differ): void {
  const { publication, schema, tables } = found;
  differ('publication', 'publication', recorded, publication === null ? 'none' : formatVersion1(publication));
  if (publication === null) return;
  const isBySchema = publication.schemas.some(({ of }) => of === schema?.oid);
  for (const table of contractTableNames) {
    const oid = tables[table]?.oid;
    const isPublished = publication.allTables || isBySchema || publication.tables.some(({ of }) => of === oid);
    differ('table', `${contractSchema}.${table} is what is published`, true, oid !== undefined && isPublished);
  }
}

export function formatVersion1(publication: PublicationFingerprint): string {
  const list = (members: readonly PublicationMember[]) =>
    members.map(({ oid, xmin }) => `${oid}/${xmin}`).join(',') || 'none';
  return `publication ${publication.oid}/${publication.xmin}; tables ${list(publication.tables)}; schemas ${list(publication.schemas)}`;
}

function formatMembers(members: readonly PublicationMember[]): string {
  return members.map(({ oid, xmin, of }) => `${of} (${oid}/${xmin})`).join(', ') || 'none';
}
