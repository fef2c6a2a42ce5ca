// Whether this server, role, publication and pair of tables can feed the reader at all. Pure: facts in, all problems out
// at once, each with its remedy, so that an operator corrects everything at once. Whether the slot and the log continue
// where the checkpoint ended is another question (continuity), checked later and on the stream's own connection.
import type { TableFingerprint } from '#schemas/capture-fingerprint.ts';
import {
  type ContractColumns,
  type ContractTable,
  contractSchema,
  contractTableNames,
  contractTables,
} from '#schemas/contract-tables.ts';
import { type Capture, findVisibilityProblems, type PublicationState } from '../postgres/capture.ts';
import { matchesSynchronousStandby } from './synchronous-standbys.ts';

export interface TableFacts {
  /** `type` as format_type prints it, without length. */
  readonly columns: readonly { readonly name: string; readonly type: string }[];
}

export interface PreflightFacts {
  /** As `server_version_num`: 180004. */
  readonly serverVersion: number;
  readonly serverVersionName: string;
  readonly walLevel: string;
  readonly inRecovery: boolean;
  readonly roleName: string;
  readonly mayReplicate: boolean;
  /** pg_read_all_stats. */
  readonly mayReadAllStats: boolean;
  /** EXECUTE on pg_log_standby_snapshot, where the server has it (16). */
  readonly mayLogRestartPoints: boolean;
  readonly slotExists: boolean;
  readonly slots: { readonly used: number; readonly allowed: number };
  readonly walSenders: { readonly used: number; readonly allowed: number };
  readonly synchronousStandbyNames: string;
  /** The database's, and whether Postgres converts all of it to UTF-8: not from SQL_ASCII, which is any bytes. */
  readonly encoding: { readonly name: string; readonly convertsToUtf8: boolean };
  readonly publication: PublicationState | null;
  readonly capture: Capture;
  readonly tables: Readonly<Record<ContractTable, TableFacts | null>>;
}

interface PreflightProblem {
  readonly code: string;
  readonly problem: string;
  readonly remedy: string;
}

const OLDEST_VERSION = 140_000;

type Names = { readonly publicationName: string; readonly applicationName: string };

/** All problems at once; empty when the reader may start. */
export function findPreflightProblems(facts: PreflightFacts, names: Names): PreflightProblem[] {
  return [...findServerProblems(facts, names), ...findPublicationProblems(facts, names), ...findTableProblems(facts)];
}

function* findServerProblems(facts: PreflightFacts, { applicationName }: Names): Generator<PreflightProblem> {
  if (facts.serverVersion < OLDEST_VERSION) {
    yield {
      code: 'SERVER_TOO_OLD',
      problem: `The orders database runs Postgres ${facts.serverVersionName}.`,
      remedy: 'Upgrade it to Postgres 14 or newer.',
    };
  }
  if (facts.walLevel !== 'logical') {
    yield {
      code: 'WAL_LEVEL',
      problem: `wal_level is ${facts.walLevel}, so changes can't be decoded.`,
      remedy: "Run ALTER SYSTEM SET wal_level = 'logical' and restart Postgres.",
    };
  }
  if (!facts.encoding.convertsToUtf8) {
    yield {
      code: 'DATABASE_ENCODING',
      problem: `The orders database has the encoding ${facts.encoding.name}, which Postgres can't convert to UTF-8.`,
      remedy:
        "A database keeps its encoding: run CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8', restore a dump into it " +
        'that is valid UTF-8 (pg_dump, iconv), and point order-api and the reader at it.',
    };
  }
  if (facts.inRecovery) {
    yield {
      code: 'IN_RECOVERY',
      problem: 'The orders database is a standby.',
      remedy: 'Point ORDER_DATABASE_URL at the primary.',
    };
  }
  if (!facts.mayReplicate) {
    yield {
      code: 'NO_REPLICATION_PRIVILEGE',
      problem: `The role ${facts.roleName} may not replicate, so it gets no changes and can't make its slot.`,
      remedy: `Run ALTER ROLE ${facts.roleName} WITH REPLICATION as a superuser.`,
    };
  }
  if (!facts.slotExists && facts.slots.used >= facts.slots.allowed) {
    yield {
      code: 'NO_FREE_SLOT',
      problem: `All ${facts.slots.allowed} replication slots are in use, and the reader needs one.`,
      remedy: 'Drop a slot that nobody needs (pg_drop_replication_slot), or raise max_replication_slots and restart.',
    };
  }
  if (facts.walSenders.used >= facts.walSenders.allowed) {
    yield {
      code: 'NO_FREE_WAL_SENDER',
      problem: `All ${facts.walSenders.allowed} WAL senders are in use, and the reader needs one.`,
      remedy: 'Stop a replication connection that nobody needs, or raise max_wal_senders and restart Postgres.',
    };
  }
  if (matchesSynchronousStandby(facts.synchronousStandbyNames, applicationName)) {
    yield {
      code: 'SYNCHRONOUS_STANDBY',
      problem:
        `synchronous_standby_names (${facts.synchronousStandbyNames}) covers the reader's application name ` +
        `${applicationName}: COMMIT of every order would wait for Kafka.`,
      remedy: 'Name the real standbys in synchronous_standby_names, without * and without the reader.',
    };
  }
}

function* findPublicationProblems(facts: PreflightFacts, { publicationName }: Names): Generator<PreflightProblem> {
  const { publication } = facts;
  if (publication === null) {
    yield {
      code: 'PUBLICATION_MISSING',
      problem: `There is no publication ${publicationName}.`,
      remedy: 'Start order-api once, or run "npm run migrate": its migrations create it.',
    };
    return;
  }
  if (!publication.inserts) {
    yield {
      code: 'PUBLICATION_WITHOUT_INSERTS',
      problem: `The publication ${publicationName} does not publish inserts.`,
      remedy:
        `Run ALTER PUBLICATION "${publicationName}" SET (publish = 'insert'). Orders placed meanwhile are not in the stream: ` +
        'run npm run audit once the reader streams; it lists them, and prints the replay that publishes them.',
    };
  }
  const { publication: recorded, schema, tables } = facts.capture.fingerprint;
  const isBySchema = publication.allTables || (recorded?.schemas.some(({ of }) => of === schema?.oid) ?? false);
  const hasOthers = publication.tables.some(({ oid }) => contractTableNames.every((name) => tables[name]?.oid !== oid));
  if (publication.viaRoot && (isBySchema || hasOthers)) {
    yield {
      code: 'PUBLICATION_VIA_ROOT',
      problem:
        `The publication ${publicationName} publishes partitions under the name of their root, and more than the two ` +
        'tables: attached to a partitioned table, their rows would come under its name.',
      remedy: `Run ALTER PUBLICATION "${publicationName}" SET (publish_via_partition_root = false).`,
    };
  }
  for (const name of contractTableNames) {
    const table = publication.tables.find(({ oid }) => oid === tables[name]?.oid);
    const hidden = Object.keys(contractTables[name]).filter((column) => table?.columnList?.includes(column) === false);
    const remedy = `Run ALTER PUBLICATION "${publicationName}" SET TABLE public.orders, public.order_items.`;
    if (table === undefined) {
      if (isBySchema || tables[name] === null) continue; // a missing table has a problem of its own
      const others = publication.tables.map((one) => `${one.schema}.${one.name}`).join(', ') || 'no table';
      const problem = `The publication ${publicationName} lacks ${contractSchema}.${name}; it lists ${others}.`;
      yield { code: 'TABLE_NOT_PUBLISHED', problem, remedy };
    } else if (table.hasRowFilter) {
      yield { code: 'ROW_FILTER', problem: `The publication ${publicationName} filters the rows of ${name}.`, remedy };
    } else if (hidden.length > 0) {
      const problem = `The publication ${publicationName} leaves out columns of ${name}: ${hidden.join(', ')}.`;
      yield { code: 'COLUMN_LIST', problem, remedy };
    }
  }
}

/** What is logged at a start although nothing is missing: no need to wait. */
export function findPreflightWarnings({ publication }: PreflightFacts, { publicationName }: Names): string[] {
  if (publication === null || (!publication.allTables && publication.tables.length > 0)) return [];
  return [
    `The publication ${publicationName} does not list the two tables by name, so Postgres lets them become UNLOGGED, and ` +
      'rows written meanwhile are lost: FOR TABLE public.orders, public.order_items is recommended.',
  ];
}

function* findTableProblems(facts: PreflightFacts): Generator<PreflightProblem> {
  for (const name of contractTableNames) {
    const found = facts.capture.fingerprint.tables[name];
    if (found === null) {
      yield {
        code: 'TABLE_MISSING',
        problem: `There is no table ${contractSchema}.${name}.`,
        remedy: 'Start order-api once, or run "npm run migrate". If the table was renamed or moved, put it back.',
      };
      continue;
    }
    const problem = describeKind(`${contractSchema}.${name}`, found);
    if (problem !== undefined) yield problem;
    const columns = facts.tables[name]?.columns ?? [];
    yield* findColumnProblems(name, contractTables[name], { columns });
  }
  yield* findVisibilityProblems(facts.capture.visibility, facts.roleName);
}

const KINDS: Readonly<Record<string, string>> = {
  v: 'a view',
  m: 'a materialized view',
  p: 'a partitioned table',
  f: 'a foreign table',
};

/** Rows of anything but an ordinary, permanent table without children do not come in the stream under its name. */
function describeKind(name: string, found: TableFingerprint): PreflightProblem | undefined {
  if (found.kind !== 'r') {
    return {
      code: 'TABLE_KIND',
      problem: `${name} is ${KINDS[found.kind] ?? `of kind ${found.kind}`}; the reader captures ordinary tables only.`,
      remedy: 'Give the ordinary table that holds the rows this name. Partitioned tables are not supported yet.',
    };
  }
  if (found.persistence !== 'p') {
    const remedy = `Run ALTER TABLE ${name} SET LOGGED, then npm run audit.`;
    return { code: 'TABLE_UNLOGGED', problem: `${name} is not logged, so its rows are not in the WAL.`, remedy };
  }
  if (found.isPartition) {
    const remedy = 'Detach it from its partitioned table. Partitioned tables are not supported yet.';
    return { code: 'TABLE_IS_PARTITION', problem: `${name} is a partition.`, remedy };
  }
  if (found.children > 0) {
    return {
      code: 'TABLE_HAS_CHILDREN',
      problem: `${name} has ${found.children} child tables, whose rows are not captured.`,
      remedy: `Run ALTER TABLE … NO INHERIT ${name} for each of them. Inheritance and partitions are not supported yet.`,
    };
  }
  return undefined;
}

function* findColumnProblems(name: string, columns: ContractColumns, table: TableFacts): Generator<PreflightProblem> {
  for (const [column, types] of Object.entries(columns)) {
    const type = table.columns.find((one) => one.name === column)?.type;
    const names = types.map((one) => one.name);
    if (type === undefined) {
      yield {
        code: 'COLUMN_MISSING',
        problem: `${contractSchema}.${name} has no column ${column}.`,
        remedy: 'Run "npm run migrate"; a column of the contract must keep its name.',
      };
    } else if (!names.includes(type)) {
      yield {
        code: 'COLUMN_TYPE',
        problem: `${contractSchema}.${name}.${column} is of type ${type}.`,
        remedy: `Change it to ${names[0]}.`,
      };
    }
  }
}
