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

  it('lead down the order of the areas only', () => {
    const order = [['schemas', 'service'], ['kafka'], services, ['tools'], ['dev'], ['test']];
    const levelOf = (area: string) => order.findIndex((areas) => areas.includes(area));
    expectNoImport(
      'An area knows those before it: schemas and service, kafka, the services, tools, dev, test.',
      (from, to) => {
        return folders.includes(areaOf(to.target)) && levelOf(areaOf(to.target)) > levelOf(from.area);
      },
    );
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
    const stages = [
      ['intake', 'assemble-transaction'],
      ['queue'],
      ['publish', 'kafka-transaction', 'huge-transaction'],
      ['acknowledge'],
    ].map((names) => names.map((name) => `cdc-reader/pipeline/${name}.ts`));
    for (const path of stages.flat()) expect(sources.map((source) => source.path)).toContain(path);
    expectNoImport(
      'pipeline.ts connects the stages; a stage may name another’s type (import type), not call it.',
      (from, to) => {
        const stage = stages.find((files) => files.includes(from.path));
        return !to.typeOnly && stage !== undefined && stages.flat().includes(to.target) && !stage.includes(to.target);
      },
    );
  });

  it('never lead in a circle from a file back to itself, except as types', () => {
    const values = new Map(
      shipped.map(({ path, imports }) => [
        path,
        imports.filter(({ typeOnly }) => !typeOnly).map(({ target }) => target),
      ]),
    );
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (path: string, way: readonly string[]): void => {
      if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(' → '));
      if (done.has(path) || way.includes(path)) return;
      for (const target of values.get(path) ?? []) visit(target, [...way, path]);
      done.add(path);
    };
    for (const path of values.keys()) visit(path, []);
    expect(circles, 'Move what both need to a file of its own, or pass it as an argument.').toEqual([]);
  });
});

describe('files that import each other', () => {
  /** The files that `path` leads to, itself only if there is a circle. */
  const reachedFrom = (path: string): ReadonlySet<string> => {
    const reached = new Set<string>();
    const visit = (from: string): void => {
      for (const { target } of sources.find((source) => source.path === from)?.imports ?? []) {
        if (reached.has(target)) continue;
        reached.add(target);
        visit(target);
      }
    };
    visit(path);
    return reached;
  };

  it('never form a circle', () => {
    const finished = [...foundations, 'order-api', 'cart-sink', 'dev'];
    const paths = sources.filter(({ area }) => finished.includes(area)).map(({ path }) => path);
    const circular = paths.filter((path) => reachedFrom(path).has(path));
    expect(circular, 'Move what both need, types too, to a file that imports neither.').toEqual([]);
  });
});

describe('the cart sink', () => {
  const rooms = ['apply', 'cart-api', 'consume', 'kafka', 'migrations', 'operations', 'rule', 'sql'];
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

/** Unit tests that are of no single source, and why. */
const withoutSource: Readonly<Record<string, string>> = {
  'test/unit/architecture.test.ts': 'of all sources',
  'test/unit/docs/alerts.test.ts': 'of ops/',
  'test/unit/docs/configuration.test.ts': 'of a page',
  'test/unit/docs/metrics.test.ts': 'of a page',
  'test/unit/docs/operations.test.ts': 'of a page',
  'test/unit/docs/pages.test.ts': 'of the pages',
  'test/unit/docs/words.test.ts': 'of all comments, messages and pages',
  'test/unit/secrets.test.ts': 'of all tracked files',
  'test/unit/cdc-reader/pipeline/pipeline-refusals.test.ts':
    'of pipeline.ts: what it refuses; the rest is in pipeline.test.ts',
  'test/unit/cdc-reader/startup/start-checks.test.ts': 'of the start as a whole, with its modules of I/O replaced',
};

describe('the tools', () => {
  /** What they may import of a service, and why it is not in schemas/, kafka/ or service/. */
  const publicRooms: Readonly<Record<string, string>> = {
    'cart-sink/config.ts': 'variables, with the same names and defaults',
    'cart-sink/operations/repair-commands.ts': 'the same command from a tool and from the sink’s operations port',
    'cart-sink/operations/carts-status.ts': 'find shows where the sinks are as they show it themselves',
    'cart-sink/operations/order-facts.ts': 'find shows what the carts have of an order as the sink does',
    'cdc-reader/find/order-path.ts': 'find collects the path of an order as the reader does',
    'cdc-reader/status/read-service.ts': 'status asks the services as the console does',
    'cdc-reader/status/watch.ts': 'the same',
    'cdc-reader/status/overview.ts': 'status prints what the console shows',
    'cdc-reader/status/verdict.ts': 'the same',
    'cart-sink/migrate-carts.ts': 'npm run migrate does what the service does when it starts',
    'cart-sink/rule/reduce-cart.ts': 'the version of the rule is part of a plan and of an audit',
    'cart-sink/apply/preview-replay.ts': 'a dry run computes by the rule of the sink, and reads its ledger',
    'cart-sink/apply/decide-parked.ts': 'adopt and parked decide about a record by the transactions of the sink',
    'cart-sink/consume/parse-records.ts': 'adopt and parked read a record as the sink does',
    'cart-sink/sql/check-tables.ts': 'whether the carts database is migrated: one statement for everyone who asks',
    'cart-sink/apply/move-offsets.ts': 'adopt finds a halt by the check of the sink',
    'cart-sink/consume/offset-checks.ts': 'adopt finds a halt by the check of the sink',
    'cart-sink/sql/applied-orders.ts': 'whether an order is in the ledger or was parked: the check of the sink',
    'cart-sink/sql/consumer-offsets.ts': 'how far the sinks are: one statement for everyone who asks',
    'cdc-reader/config.ts': 'variables, with the same names and defaults',
    'cdc-reader/errors.ts': 'adopt names a halt as the reader does',
    'cdc-reader/startup/preflight.ts': 'adopt finds a halt by the checks of the reader',
    'cdc-reader/startup/usable-capture.ts': 'adopt records a fingerprint as a first start does',
    'cdc-reader/startup/continuity.ts': 'adopt finds a halt by the checks of the reader',
    'cdc-reader/startup/verified-checkpoint.ts': 'adopt finds a halt by the checks of the reader',
    'cdc-reader/startup/kafka-connection.ts': 'adopt fences readers by their transactional id',
    'cdc-reader/startup/live-topic.ts': 'the ends of the live topic, and what it covers',
    'cdc-reader/startup/snapshot-event.ts': 'an order of the tables becomes the event of a first start',
    'cdc-reader/postgres/source-session.ts':
      'one session of the orders database: slots, identity of the tables, orders',
    'cdc-reader/postgres/walsender.ts': 'the identity of the server',
    'cdc-reader/postgres/slot.ts': 'adopt makes a slot as the reader does',
    'cdc-reader/postgres/capture.ts': 'what a role may see of the captured tables',
    'cdc-reader/postgres/snapshot.ts': 'the orders of a snapshot, as a first start reads them',
    'cdc-reader/postgres/replication-stream.ts': 'a replay from WAL reads what the reader read',
    'cdc-reader/encode/read-numbers.ts': 'the time of an order as Postgres prints it',
    'cdc-reader/encode/encode-event.ts': 'the record that the reader makes of an order',
    'cdc-reader/encode/unpublishable-errors.ts': 'why no event can be made of an order of the tables',
    'cdc-reader/pipeline/assemble-transaction.ts': 'a replay from WAL reads what the reader read',
    'cdc-reader/replay-window/kafka-coverage.ts': 'which ranges the live topic covers: one answer in tool and metric',
    'order-api/config.ts': 'variables, with the same names and defaults',
    'order-api/migrate-orders.ts': 'npm run migrate does what the service does when it starts',
  };
  const ofService = (target: string) => services.includes(areaOf(target));

  it('use a service’s public rooms only where listed', () => {
    expectNoImport(
      'Data that crosses a process boundary belongs in schemas/, connections in kafka/ or service/; else list it with a reason.',
      (from, to) => from.area === 'tools' && ofService(to.target) && !(to.target in publicRooms),
    );
    const used = sources.filter(({ area }) => area === 'tools').flatMap(({ imports }) => imports);
    const targets = new Set(used.map(({ target }) => target));
    const what = 'No tool imports this any more: take it off the list.';
    expect(
      Object.keys(publicRooms).filter((room) => !targets.has(room)),
      what,
    ).toEqual([]);
  });

  it('never import one another, and what they share imports none of them', () => {
    const tools = ['tools/adopt/', 'tools/audit/', 'tools/find/', 'tools/parked/', 'tools/replay/'];
    const toolOf = (path: string) => tools.find((tool) => path.startsWith(tool));
    expectNoImport('Move what two tools need to tools/ itself, tools/captured/ or tools/sql/.', (from, to) => {
      const isEntry = from.area !== 'tools' || from.path === 'tools/main.ts';
      return !isEntry && toolOf(to.target) !== undefined && toolOf(to.target) !== toolOf(from.path);
    });
  });

  it('of replay plan and read without publishing', () => {
    expectNoImport('plan/ and sources/ change nothing, so they never call run/.', (from, to) => {
      const isReading = isBelow(from.path, 'tools/replay/plan/', 'tools/replay/sources/');
      return isReading && to.target.startsWith('tools/replay/run/');
    });
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
      [...folders].map((room) => `${room}/**/*.*`),
      { cwd: repository },
    );
    const crowded = [...Map.groupBy(all, dirname)].filter(([, paths]) => paths.length > 14).map(([folder]) => folder);
    expect(crowded, 'Find the files that belong together and give them a folder.').toEqual([]);
  });

  it('in test/unit/ lie at the path of the source that they test', () => {
    const paths = sources.map(({ path }) => path);
    const unitTests = paths.filter((path) => path.startsWith('test/unit/') && path.endsWith('.test.ts'));
    const sourceOf = (path: string) => path.replace(/^test\/unit\//, '').replace(/\.test\.ts$/, '.ts');
    const stray = unitTests.filter((path) => !paths.includes(sourceOf(path)));
    expect(
      stray.filter((path) => !(path in withoutSource)),
      'Name it for its source, a/b/c.ts is tested by test/unit/a/b/c.test.ts; or list it here with the reason.',
    ).toEqual([]);
    expect(Object.keys(withoutSource).filter((path) => !stray.includes(path))).toEqual([]);
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
      'Spread a DatabaseServer into the options: the libraries read a connectionString each in their own way.',
      ({ text }) => /\bconnectionString\b/.test(codeOf(text)),
      sources.filter(({ area }) => area !== 'test'),
    );
  });

  it('give each client of Postgres a DatabaseServer, whose TLS is explicit, and never a URL', () => {
    const opens = /\bnew pg\.(?:Client|Pool)\(|\bdatabases\.default\(|\bwalSenderConfig\(/;
    const servers =
      /\.\.\.(?:poolOptions\(|server,|connection,|options\.postgres,|postgres,)|serverOf\(|Client\(config\)|walSenderConfig\(/;
    expectNone(
      'Spread a DatabaseServer (service/postgres/database-server.ts) into the options.',
      ({ text }) => opens.test(codeOf(text)) && !servers.test(codeOf(text)),
      sources.filter(({ area }) => area !== 'test'),
    );
    expectNoImport('A URL becomes a DatabaseServer in service/postgres/; take that as an argument.', (from, to) => {
      return to.target === 'service/postgres/database-url.ts' && !isBelow(from.path, 'service/postgres/', 'test/');
    });
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

  it('hold SQL in the sql/ folders, and .sql only as migrations and in ops/', () => {
    expectNone(
      'One file a table or subject under sql/; each statement an exported tagged template named for what it does.',
      ({ path, text }) => !path.includes('/sql/') && /^import [^;]*\bsql\b[^;]*from '@databases\/pg'/m.test(text),
      sources.filter(({ area }) => services.includes(area) || area === 'tools'),
    );
    const files = globSync('**/*.sql', { cwd: repository, exclude: ['node_modules', '.tillstream'] });
    expect(files.filter((path) => !path.includes('/migrations/') && !path.startsWith('ops/'))).toEqual([]);
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
