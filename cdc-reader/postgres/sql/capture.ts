// What is captured, from catalogues only: the fingerprint of publication and tables, and what preflight asks beyond it. No
// statement takes a lock on the two tables: pg_publication_tables would open them, and wait for an ACCESS EXCLUSIVE lock.
import { type SQLQuery, sql } from '@databases/pg';
import { contractSchema, contractTableNames, contractTables } from '#schemas/contract-tables.ts';
import { plainText } from '../plain-text.ts';

/** pg_publication_namespace came with Postgres 15; a statement that names it is refused before. */
const FIRST_WITH_SCHEMAS = 150_000;

/** As array literals: the statement is prepared as text, without parameters. */
const columns = `{${[...new Set(contractTableNames.flatMap((table) => Object.keys(contractTables[table])))]}}`;
const tables = `{${contractTableNames}}`;

const publicationSchemas = sql`
  (
    SELECT coalesce(
      jsonb_agg(jsonb_build_object('oid', member.oid::bigint, 'xmin', member.xmin::text, 'of', member.pnnspid::bigint)
        ORDER BY member.oid),
      '[]')
    FROM pg_publication_namespace AS member
    WHERE member.pnpubid = publication.oid
  )
`;

/** An ACL with roles by OID. */
const grantsOf = (acl: SQLQuery) => sql`(
  SELECT string_agg(concat_ws(' ', grantee, privilege_type, is_grantable, grantor), ', ' ORDER BY grantee, privilege_type, grantor)
  FROM aclexplode(${acl})
)`;

/**
 * One row: `publication`, `schema` and `tables` as a CaptureFingerprint has them, `visibility` as a CaptureVisibility.
 * `serverVersion` as `server_version_num`.
 */
export function readCapture(publicationName: string, serverVersion: number): SQLQuery {
  return sql`
    SELECT (
        SELECT jsonb_build_object(
          'oid', publication.oid::bigint,
          'xmin', publication.xmin::text,
          'owner', publication.pubowner::bigint,
          'acl', NULL,
          'inserts', publication.pubinsert,
          'allTables', publication.puballtables,
          'tables', (
            SELECT coalesce(
              jsonb_agg(jsonb_build_object('oid', member.oid::bigint, 'xmin', member.xmin::text, 'of', member.prrelid::bigint)
                ORDER BY member.oid),
              '[]')
            FROM pg_publication_rel AS member
            WHERE member.prpubid = publication.oid
          ),
          'schemas', ${serverVersion < FIRST_WITH_SCHEMAS ? sql`'[]'::jsonb` : publicationSchemas}
        )
        FROM pg_publication AS publication
        WHERE publication.pubname = ${publicationName}
      ) AS publication,
      CASE WHEN namespace.oid IS NOT NULL THEN jsonb_build_object(
        'oid', namespace.oid::bigint, 'xmin', namespace.xmin::text, 'owner', namespace.nspowner::bigint,
        'acl', namespace.nspacl::text, 'grants', ${grantsOf(sql`namespace.nspacl`)}
      ) END AS schema,
      has_schema_privilege(namespace.oid, 'USAGE') AS may_use_schema,
      captured.tables,
      captured.visibility
    FROM (SELECT ${contractSchema}::name AS name) AS contract
    LEFT JOIN pg_namespace AS namespace ON namespace.nspname = contract.name,
    LATERAL (
      SELECT jsonb_object_agg(class.relname, jsonb_build_object(
          'oid', class.oid::bigint,
          'kind', class.relkind,
          'persistence', class.relpersistence,
          'isPartition', class.relispartition,
          'children', (SELECT count(*) FROM pg_inherits WHERE inhparent = class.oid),
          'hadChildren', class.relhassubclass,
          'hadRules', class.relhasrules,
          'rules', (SELECT count(*) FROM pg_rewrite WHERE ev_class = class.oid),
          'insertRules', (
            SELECT coalesce(jsonb_agg(rule.oid::text || '/' || rule.xmin::text ORDER BY rule.oid), '[]')
            FROM pg_rewrite AS rule
            WHERE rule.ev_class = class.oid AND rule.ev_type = '3'
          ),
          'columns', attributes.columns,
          'rowType', jsonb_build_object(
            'oid', type.oid::bigint, 'xmin', type.xmin::text, 'owner', type.typowner::bigint, 'acl', type.typacl::text,
            'grants', ${grantsOf(sql`type.typacl`)}
          ),
          'relfilenode', class.relfilenode::bigint
        )) AS tables,
        jsonb_object_agg(class.relname, jsonb_build_object(
          'isFiltered', row_security_active(class.oid),
          'maySelect', has_table_privilege(class.oid, 'SELECT') OR attributes.may_select
        )) AS visibility
      FROM pg_class AS class
      LEFT JOIN pg_type AS type ON type.oid = class.reltype,
      LATERAL (
        SELECT coalesce(jsonb_object_agg(attname, jsonb_build_array(attnum, atttypid::bigint)), '{}') AS columns,
          coalesce(bool_and(has_column_privilege(class.oid, attnum, 'SELECT')), false) AS may_select
        FROM pg_attribute
        WHERE attrelid = class.oid AND attnum > 0 AND NOT attisdropped AND attname = ANY(${columns}::name[])
      ) AS attributes
      WHERE class.relnamespace = namespace.oid AND class.relname = ANY(${tables}::name[])
    ) AS captured
  `;
}

/** Once a session: planned each time, the statement takes three times as long. */
export function prepareReadCapture(publicationName: string, serverVersion: number): SQLQuery {
  return sql`PREPARE read_capture AS ${sql.__dangerous__rawValue(plainText(readCapture(publicationName, serverVersion)))}`;
}

export const executeReadCapture = sql`EXECUTE read_capture`;

/** One row for each of these tables that exists: `oid`, `schema`, `name` and `kind`, whatever they are called by now. */
export function readTableNames(oids: readonly number[]): SQLQuery {
  return sql`
    SELECT class.oid::bigint AS oid, namespace.nspname AS schema, class.relname AS name, class.relkind AS kind
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.oid = ANY(${oids.map(String)}::oid[])
  `;
}

/** One row, or none when there is no such publication: which kinds of changes it publishes. */
export function readPublication(publicationName: string): SQLQuery {
  return sql`
    SELECT puballtables AS all_tables, pubinsert AS inserts, pubupdate AS updates, pubdelete AS deletes,
      pubtruncate AS truncates, pubviaroot AS via_root
    FROM pg_publication
    WHERE pubname = ${publicationName}
  `;
}

/**
 * The tables that a publication lists by name. Columns that came with Postgres 15 are taken from the row as JSON, where a
 * missing one is NULL: `prqual` (a row filter) and `prattrs` (the attnums of a column list).
 */
export function readPublishedTables(publicationName: string): SQLQuery {
  return sql`
    SELECT member.prrelid::bigint AS oid,
      namespace.nspname AS schema,
      class.relname AS name,
      to_jsonb(member) ->> 'prqual' IS NOT NULL AS has_row_filter,
      (
        SELECT array_agg(attribute.attname::text ORDER BY attribute.attnum)
        FROM pg_attribute AS attribute
        WHERE attribute.attrelid = member.prrelid
          AND jsonb_typeof(to_jsonb(member) -> 'prattrs') = 'array'
          AND to_jsonb(member) -> 'prattrs' @> to_jsonb(attribute.attnum)
      ) AS columns
    FROM pg_publication AS publication
    JOIN pg_publication_rel AS member ON member.prpubid = publication.oid
    JOIN pg_class AS class ON class.oid = member.prrelid
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE publication.pubname = ${publicationName}
    ORDER BY namespace.nspname, class.relname
  `;
}

/** One row for each column of a table or view, with its type's full name; no row when there is nothing of that name. */
export function readTableFacts(schema: string, table: string): SQLQuery {
  return sql`
    SELECT attribute.attname AS name, format_type(attribute.atttypid, NULL) AS type
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
    WHERE namespace.nspname = ${schema} AND class.relname = ${table}
    ORDER BY attribute.attnum
  `;
}
