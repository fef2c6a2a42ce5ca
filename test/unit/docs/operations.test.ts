// docs/operations.md against the code: every halt code, every code that a start waits for and every log event is there,
// and none that no longer exists.

import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { kafkaErrors } from '#kafka/failure.ts';
import { CERTIFICATE, sqlStates, systemErrors, TLS } from '#service/failure.ts';
import { findHaltCodes } from './halt-codes.ts';

const repository = join(import.meta.dirname, '..', '..', '..');
const page = readFileSync(join(repository, 'docs', 'operations.md'), 'utf8');
const sources = globSync(
  ['order-api', 'cdc-reader', 'cart-sink', 'kafka', 'service'].map((folder) => `${folder}/**/*.ts`),
  { cwd: repository },
).map((path) => readFileSync(join(repository, path), 'utf8'));

const distinct = (found: readonly string[]) => [...new Set(found)].toSorted();
const find = (pattern: RegExp, texts = sources) =>
  distinct(texts.flatMap((text) => [...text.matchAll(pattern)].map(([, found]) => found!)));

/** The first cells of the tables below the heading `## <name>`. */
function readTables(name: string): string[] {
  const [, section = ''] = page.split(`\n## ${name}\n`);
  const cells = section.split('\n## ')[0]!.matchAll(/^\| (`.*?) \|/gm);
  return distinct([...cells].flatMap(([, cell]) => [...cell!.matchAll(/`([^`]+)`/g)].map(([, found]) => found!)));
}

const rows = [
  ...Object.values(sqlStates),
  ...Object.values(systemErrors),
  ...Object.values(kafkaErrors).map(([, answer]) => answer),
  CERTIFICATE,
  TLS,
];
/** What the tables of failures call the causes that need a person. */
const failures = distinct(rows.flatMap((row) => (typeof row === 'string' ? [] : [row[0]])));

describe('docs/operations.md', () => {
  it('has a row for every halt code, and for nothing else', () => {
    const codes = findHaltCodes();
    expect(codes).toEqual(
      expect.arrayContaining(['SLOT_LOST', 'EVENT_TOO_LARGE', 'SINK_DEFECT', 'TOPIC_MISCONFIGURED']),
    );
    expect(readTables('Halts')).toEqual(codes);
  });

  it('has a row for every preflight problem', () => {
    const preflight = ['startup/preflight.ts', 'startup/spill-directory.ts', 'postgres/capture.ts'].map((path) =>
      readFileSync(join(repository, 'cdc-reader', path), 'utf8'),
    );
    const codes = find(/\bcode: '([A-Z_]+)'/g, preflight);
    expect(codes.length).toBeGreaterThan(20);
    expect(codes.filter((code) => !readTables('Waiting').includes(code))).toEqual([]);
  });

  it('names in its table of waiting only codes that exist', () => {
    const codes = [...find(/\b(?:code|name)(?:: | = )'([A-Z_]+)'/g), ...failures];
    expect(readTables('Waiting').filter((code) => !codes.includes(code))).toEqual([]);
  });

  it('has a row for every failure that waits for a person', () => {
    expect(failures.length).toBeGreaterThan(20);
    const documented = readTables('Waiting');
    expect(failures.filter((name) => !documented.includes(name))).toEqual([]);
  });

  it('has a row for every log event, and for nothing else', () => {
    const constants = find(/^(?:export )?const [A-Z_]+ = '([a-z]+\.[a-z-]+)'/gm);
    const inline = find(/\bevent: '([a-z]+\.[a-z-]+)'/g);
    expect(constants).toContain('reader.streaming');
    expect(readTables('Log events')).toEqual(distinct([...constants, ...inline]));
  });
});
