// The rules of where things live and who may know whom, as ARCHITECTURE.md tells them, checked against every source file.
// Each failure names the file, and its message says what to do. Imports are found by their text, which is enough for the
// plain static imports that are used here; types pass like values, except between the reader's stages.
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';

const repository = join(import.meta.dirname, '..', '..');
const services = ['order-api', 'cdc-reader', 'cart-sink'];
const foundations = ['schemas', 'kafka', 'service'];
const folders = [...services, ...foundations, 'tools', 'dev', 'test'];

type Import = { readonly specifier: string; readonly target: string; readonly typeOnly: boolean };
type Source = {
  readonly path: string;
  readonly area: string;
  readonly text: string;
  readonly lines: number;
  readonly imports: readonly Import[];
};

const sources: readonly Source[] = globSync(
  folders.map((folder) => `${folder}/**/*.ts`),
  { cwd: repository },
)
  .toSorted()
  .map((path) => {
    const text = readFileSync(join(repository, path), 'utf8');
    const imports = findImports(path, text);
    return { path, area: path.split('/')[0]!, text, lines: text.trimEnd().split('\n').length, imports };
  });
const shipped = sources.filter(({ area }) => area !== 'dev' && area !== 'test');
const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as {
  dependencies: Record<string, string>;
  scripts: Record<string, string>;
};

function findImports(path: string, text: string): Import[] {
  const statement = /^(?:import|export)\s+(type\s)?[^;'"`]*?from\s+'([^']+)'|^import\s+'([^']+)'/gm;
  const call = /\b(?:import|require)\(\s*'([^']+)'\s*\)/g;
  return [
    ...[...text.matchAll(statement)].map(([, type, from, bare]) => ({
      specifier: from ?? bare!,
      typeOnly: Boolean(type),
    })),
    ...[...text.matchAll(call)].map(([, specifier]) => ({ specifier: specifier!, typeOnly: false })),
  ].map((found) => ({ ...found, target: resolveImport(path, found.specifier) }));
}

/** The file in the repository, or the name of the package. */
function resolveImport(path: string, specifier: string): string {
  if (specifier.startsWith('.')) return normalize(join(dirname(path), specifier));
  if (specifier.startsWith('#')) return specifier.slice(1);
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]!;
}

/** The code without comments and without what stands in quotes; of templates, the expressions remain. */
function codeOf(text: string): string {
  const quoted = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;
  return text.replace(quoted, (match) => (match.startsWith('`') ? (match.match(/\$\{[^}]*\}/g) ?? []).join(' ') : ' '));
}

/** Fails with one line for each import that `isWrong`, and with what to do about it. */
function expectNoImport(what: string, isWrong: (from: Source, imported: Import) => boolean): void {
  const wrong = sources.flatMap((source) =>
    source.imports
      .filter((imported) => isWrong(source, imported))
      .map(({ specifier }) => `${source.path} imports ${specifier}`),
  );
  expect(wrong, what).toEqual([]);
}

const areaOf = (target: string) => target.split('/')[0]!;
const isBelow = (path: string, ...allowed: string[]) => allowed.some((prefix) => path.startsWith(prefix));

describe('imports', () => {
  it('are found at all', () => {
    expect(sources.length).toBeGreaterThan(150);
    const pipeline = sources.find(({ path }) => path === 'cdc-reader/pipeline/pipeline.ts');
    expect(pipeline?.imports.map(({ target }) => target)).toContain('cdc-reader/pipeline/publish.ts');
    const placeholder = '$'.concat('{process.pid}');
    expect(codeOf(`a(); // process.exit\nb('process.x', \`${placeholder}\`)`)).toBe(`a();  \nb( , ${placeholder})`);
  });

  it('never lead from one service to another', () => {
    expectNoImport(
      'Move what both need to schemas/ (data), kafka/ (the Kafka client) or service/ (the frame of a process).',
      (from, to) => {
        const area = areaOf(to.target);
        return services.includes(from.area) && services.includes(area) && area !== from.area;
      },
    );
  });

  it('of the services reach schemas/, kafka/ and service/ by # names, and nothing else outside of themselves', () => {
    expectNoImport(
      "Import '#schemas/…', '#kafka/…' or '#service/…'; tools/, dev/ and test/ are not for services.",
      (from, to) => {
        if (!services.includes(from.area)) return false;
        const byName = foundations.some((room) => to.specifier.startsWith(`#${room}/`));
        return folders.includes(areaOf(to.target)) && areaOf(to.target) !== from.area && !byName;
      },
    );
  });

  it('of service/ and schemas/ stay within them, and those of kafka/ lead to service/ at most', () => {
    const mayImport: Record<string, readonly string[]> = { service: [], schemas: [], kafka: ['service'] };
    expectNoImport(
      'service/ knows no event, no Kafka and no service; schemas/ only itself; kafka/ no event: pass what is needed as an argument.',
      (from, to) => {
        const area = areaOf(to.target);
        return folders.includes(area) && area !== from.area && mayImport[from.area]?.includes(area) === false;
      },
    );
  });

  it('of order-api know neither Kafka nor the events', () => {
    expectNoImport('order-api only writes to its database; events are the reader’s.', (from, to) => {
      return from.area === 'order-api' && ['kafka', 'kafkajs', 'schemas', 'avsc'].includes(areaOf(to.target));
    });
  });

  it('of kafkajs are in kafka/ only', () => {
    expectNoImport('Put what needs kafkajs into kafka/, or ask one of its modules.', (from, to) => {
      return to.target === 'kafkajs' && !isBelow(from.path, 'kafka/', 'test/');
    });
  });

  it('of pg-logical-replication are in cdc-reader/postgres/ only', () => {
    expectNoImport('Put what needs pg-logical-replication into cdc-reader/postgres/.', (from, to) => {
      return to.target === 'pg-logical-replication' && !isBelow(from.path, 'cdc-reader/postgres/', 'test/');
    });
  });

  it('never lead to tools/, and to dev/ and test/ only from there', () => {
    expectNoImport('A tool is an entry point: move what others need to the service that it belongs to.', (from, to) => {
      return areaOf(to.target) === 'tools' && from.area !== 'tools' && from.area !== 'test';
    });
    expectNoImport('dev/ and test/ are not part of what is shipped.', (from, to) => {
      return shipped.includes(from) && ['dev', 'test'].includes(areaOf(to.target));
    });
  });

  it('of what is shipped are dependencies, not devDependencies', () => {
    expectNoImport(
      'The image is built with npm ci --omit=dev: only "dependencies" of package.json are there.',
      (from, to) => {
        const isPackage = !to.specifier.startsWith('node:') && !folders.includes(areaOf(to.target));
        return shipped.includes(from) && isPackage && !(to.target in manifest.dependencies);
      },
    );
  });

  it('never lead from one stage of the reader’s pipeline to another', () => {
    const stages = ['assemble-transaction', 'group-commit', 'publish', 'acknowledge'].map(
      (name) => `cdc-reader/pipeline/${name}.ts`,
    );
    for (const stage of stages) expect(sources.map(({ path }) => path)).toContain(stage);
    expectNoImport(
      'pipeline.ts connects the stages; a stage may name another’s type (import type), not call it.',
      (from, to) => {
        return stages.includes(from.path) && stages.includes(to.target) && !to.typeOnly;
      },
    );
  });
});

describe('the cart sink', () => {
  const rooms = ['apply', 'cart-api', 'consume', 'kafka', 'migrations', 'rule', 'sql'];
  const inside = sources.filter(({ area }) => area === 'cart-sink');

  it('keeps its rule pure', () => {
    expectNoImport('cart-sink/rule/ imports only itself and #schemas/: no I/O, no SQL.', (from, to) => {
      return from.path.startsWith('cart-sink/rule/') && !isBelow(to.target, 'cart-sink/rule/', 'schemas/');
    });
  });

  it('never leads from a statement or the transaction back to the consuming of Kafka', () => {
    expectNoImport('consume/ calls apply/, and apply/ calls sql/ and rule/; not the other way round.', (from, to) => {
      return isBelow(from.path, 'cart-sink/apply/', 'cart-sink/sql/') && isBelow(to.target, 'cart-sink/consume/');
    });
  });

  it('has these rooms, of 14 files at most', () => {
    const roomOf = ({ path }: Source) => path.split('/').slice(1, -1).join('/');
    const found = Map.groupBy(inside, roomOf);
    expect([...found.keys()].filter((room) => room !== '' && !rooms.includes(room))).toEqual([]);
    expect([...found].filter(([, files]) => files.length > 14).map(([room]) => room)).toEqual([]);
  });
});

describe('files', () => {
  const expectNone = (what: string, isWrong: (source: Source) => boolean, candidates = sources) =>
    expect(
      candidates.filter(isWrong).map(({ path, lines }) => `${path} (${lines} lines)`),
      what,
    ).toEqual([]);

  it('are named for what they do', () => {
    const names = ['index', 'utils', 'util', 'helpers', 'helper', 'common', 'types', 'shared', 'lib'];
    const all = globSync(
      folders.map((folder) => `${folder}/**`),
      { cwd: repository },
    );
    const wrong = all.filter((path) => names.includes(basename(path).replace(/\..*$/, '')));
    expect(wrong, `Name it for what is in it, or move that to where it is used; not ${names.join(', ')}.`).toEqual([]);
  });

  it('outside of test/ have 250 lines at most', () => {
    expectNone('Find the second idea in it and give that a file.', ({ area, lines }) => area !== 'test' && lines > 250);
  });

  it('of a finished room are 14 a folder at most', () => {
    const all = globSync(
      [...foundations, 'cdc-reader', 'cart-sink'].map((room) => `${room}/**/*.*`),
      { cwd: repository },
    );
    const crowded = [...Map.groupBy(all, dirname)].filter(([, paths]) => paths.length > 14).map(([folder]) => folder);
    expect(crowded, 'Find the files that belong together and give them a folder.').toEqual([]);
  });

  it('of more than 30 lines open with a comment that says what they are for', () => {
    expectNone(
      'Open with 2 to 6 lines: its one idea, what it guarantees, what it leaves to others.',
      // A test file opens with describe and sentences.
      ({ path, lines, text }) => lines > 30 && !path.endsWith('.test.ts') && !/^(\/\/ |\/\*\*?\s)/.test(text),
    );
  });

  it('touch the process only in main.ts, dev/, tools/ and test/', () => {
    const touches = ({ text, imports }: Source) =>
      /(?<![.\w])process\s*[.[]/.test(codeOf(text)) ||
      imports.some(({ specifier }) => /^(node:)?process$/.test(specifier));
    expectNone(
      'Take what is needed (env, a signal, an exit) as an argument from main.ts.',
      (source) => touches(source) && basename(source.path) !== 'main.ts',
      // shutdown.ts is given the process by every main.ts.
      sources.filter(({ area, path }) => !['dev', 'tools', 'test'].includes(area) && path !== 'service/shutdown.ts'),
    );
  });

  it('open databases by what the one parser of URLs returns', () => {
    expectNone(
      'Spread parseDatabaseUrl(url) into the options: the libraries read a connectionString each in their own way.',
      ({ text }) => /\bconnectionString\b/.test(codeOf(text)),
      sources.filter(({ area }) => area !== 'test'),
    );
  });

  it('export by name, one by one', () => {
    expectNone('Export what is meant by name; no default exports, no barrels.', ({ text }) =>
      /^export (default|\*)/m.test(text),
    );
  });

  it('name only commands that there are', () => {
    const named = ({ text }: Source) => [...text.matchAll(/npm run ([\w:-]+)/g)].map(([, script]) => script!);
    expectNone(
      'What the program tells people to run must be a script of package.json.',
      (source) => named(source).some((script) => !(script in manifest.scripts)),
      shipped,
    );
  });

  it('hold SQL in the sql/ folders, and .sql only as migrations', () => {
    expectNone(
      'One file a table or subject under sql/; each statement an exported tagged template named for what it does.',
      ({ path, text }) => !path.includes('/sql/') && /^import [^;]*\bsql\b[^;]*from '@databases\/pg'/m.test(text),
      sources.filter(({ area }) => services.includes(area)),
    );
    const files = globSync('**/*.sql', { cwd: repository, exclude: ['node_modules', '.tillstream'] });
    expect(files.filter((path) => !path.includes('/migrations/'))).toEqual([]);
  });
});

describe('ARCHITECTURE.md', () => {
  const page = readFileSync(join(repository, 'ARCHITECTURE.md'), 'utf8');
  const testsIn = (text: string) => [...text.matchAll(/`(test\/[\w/.-]+\.test\.ts)`/g)].map(([, path]) => path!);
  const exists = (path: string) => sources.some((source) => source.path === path);

  it.each(Array.from({ length: 11 }, (_, index) => `I${index + 1}`))('names a test that enforces %s', (invariant) => {
    const [, item = ''] = page.split(`\n- **${invariant} `);
    const [, enforcedBy = ''] = item.split(/\n(?:- |\n)/)[0]!.split(/Enforced\s+by/);
    const tests = testsIn(enforcedBy);
    const what = `The item "- **${invariant} …" must end with "Enforced by" and at least one test file.`;
    expect(tests, what).not.toEqual([]);
    expect(
      tests.filter((path) => !exists(path)),
      'These tests do not exist; name those that do.',
    ).toEqual([]);
  });

  it('names every folder of the sources', () => {
    const rooms = [...page.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) => {
      const [first = '', ...more] = [...cell!.matchAll(/`([\w/-]+)\/`/g)].map(([, path]) => path!);
      return [first, ...more.map((path) => (folders.includes(path) ? path : join(dirname(first), path)))];
    });
    const inRooms = (path: string) => rooms.some((room) => path.startsWith(`${room}/`));
    // What lies in a service's own folder (main, config, metrics, errors, migrations) needs no row.
    const deep = shipped.filter(({ path }) => path.split('/').length > 2);
    expect(rooms.filter((room) => !sources.some(({ path }) => path.startsWith(`${room}/`)))).toEqual([]);
    expect(deep.map(({ path }) => path).filter((path) => !inRooms(path))).toEqual([]);
  });
});
