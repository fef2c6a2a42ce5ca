// Requests for every operation of an OpenAPI document, as fast-check draws them: mostly what the document allows, with
// something odd in some place of most of them (a value of another type, a limit passed, a wrong media type, a torn body).
// Knows nothing of the services; what must hold for the answers is left to the test.

import fc from 'fast-check';

// biome-ignore lint/suspicious/noExplicitAny: JSON Schema as the document has it
type Schema = any;

export interface DrawnRequest {
  /** Its answers' descriptions, by status. */
  readonly responses: Readonly<Record<string, unknown>>;
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payload: string | undefined;
}

interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly schema: Schema;
}

const oddText = fc.oneof(
  fc.constantFrom(
    '',
    '\0',
    '\0\0\0\0',
    ' ',
    '..',
    '%',
    '%zz',
    'a/b',
    'null',
    '__proto__',
    '1e1',
    '-0',
    'é',
    '\u{1f600}',
  ),
  fc.string({ unit: 'binary', maxLength: 80 }),
  fc.integer({ min: 60, max: 1_200 }).map((length) => 'x'.repeat(length)),
);
const oddNumber = fc.oneof(
  fc.constantFrom(0, -1, 1.5, 1e9, 1_000_001, 10_000_001, 2 ** 31, 2 ** 53, 1e308, -0, 5e-324),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const odd: fc.Arbitrary<unknown> = fc.oneof(
  oddText,
  oddNumber,
  fc.constantFrom(null, true, [], {}, [null], { __proto__: null, constructor: 1 }),
  fc.jsonValue({ maxDepth: 2 }),
);

/** What `schema` allows, and now and then, at any depth, what it does not. */
function drawValue(schema: Schema): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 12, arbitrary: drawAllowed(schema) }, { weight: 1, arbitrary: odd });
}

function drawAllowed(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  switch (schema.type) {
    case 'string':
      return schema.pattern === undefined ? fc.string() : fc.stringMatching(new RegExp(schema.pattern));
    case 'integer':
      return fc.oneof(
        fc.constantFrom(schema.minimum, schema.maximum),
        fc.integer({ min: schema.minimum, max: schema.maximum }),
      );
    case 'array':
      return fc.array(drawValue(schema.items), { minLength: schema.minItems ?? 0, maxLength: 4 });
    case 'object': {
      const entries = Object.entries(schema.properties as Record<string, Schema>);
      const properties = Object.fromEntries(entries.map(([name, property]) => [name, drawValue(property)]));
      const exact = fc.record(properties, { requiredKeys: schema.required ?? [] });
      const loose = fc.record({ ...properties, unknown: odd }, { requiredKeys: [] });
      return fc.oneof({ weight: 12, arbitrary: exact }, { weight: 1, arbitrary: loose });
    }
    default:
      throw new Error(`no requests can be drawn for ${JSON.stringify(schema)}`);
  }
}

/** `known` holds ids that exist; a path of existing things is drawn more often than any other. */
function drawPathPart({ name, schema }: Parameter, known: (name: string) => readonly string[]): fc.Arbitrary<string> {
  const existing = fc.nat().map((pick) => {
    const ids = known(name);
    return ids.length === 0 ? 'nothing' : ids[pick % ids.length]!;
  });
  const allowed = drawAllowed(schema) as fc.Arbitrary<string>;
  const text = fc.oneof(
    { weight: 8, arbitrary: existing },
    { weight: 2, arbitrary: allowed },
    { weight: 1, arbitrary: oddText },
  );
  const raw = fc.constantFrom('%', '%zz', '%00', '%E0%A4%A', '..', ';', '');
  return fc.oneof({ weight: 20, arbitrary: text.map(encodeURIComponent) }, { weight: 1, arbitrary: raw });
}

const mediaType = fc.oneof(
  { weight: 15, arbitrary: fc.constant('application/json') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'application/json; charset=utf-16',
      'APPLICATION/JSON',
      'application/json,',
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      '',
      '/',
      ';',
    ),
  },
);

/** A body as text: JSON, now and then cut off or no JSON at all. */
function drawPayload(schema: Schema | undefined): fc.Arbitrary<string | undefined> {
  if (schema === undefined) return fc.option(odd.map(toText), { nil: undefined, freq: 10 });
  const whole = drawValue(schema).map(toText);
  const torn = fc.tuple(whole, fc.nat(200)).map(([text, length]) => text.slice(0, length));
  const none = fc.constant(undefined);
  return fc.oneof(
    { weight: 15, arbitrary: whole },
    { weight: 1, arbitrary: torn },
    { weight: 1, arbitrary: oddText },
    { weight: 1, arbitrary: none },
  );
}

const toText = (value: unknown): string => JSON.stringify(value);

/** All operations of `document` whose path begins with one of `prefixes`. */
export function drawRequests(
  document: Schema,
  prefixes: readonly string[],
  known: (name: string) => readonly string[],
): fc.Arbitrary<DrawnRequest> {
  const operations = Object.entries(document.paths as Record<string, Record<string, Schema>>)
    .filter(([path]) => prefixes.some((prefix) => path.startsWith(prefix)))
    .flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));
  if (operations.length === 0) throw new Error('the document has no such operations');
  return fc.oneof(...operations.map((one) => drawOperation(one, known)));
}

function drawOperation(
  { path, method, operation }: { path: string; method: string; operation: Schema },
  known: (name: string) => readonly string[],
): fc.Arbitrary<DrawnRequest> {
  const parameters: readonly Parameter[] = operation.parameters ?? [];
  const within = (place: Parameter['in']) => parameters.filter((parameter) => parameter.in === place);
  const named = (place: Parameter['in'], draw: (parameter: Parameter) => fc.Arbitrary<unknown>) =>
    fc.record(Object.fromEntries(within(place).map((one) => [one.name, draw(one)])), { requiredKeys: [] });
  const parts = fc.tuple(...within('path').map((parameter) => drawPathPart(parameter, known)));
  const query = fc.tuple(
    named('query', ({ schema }) => drawValue(schema)),
    fc.option(fc.tuple(oddText, oddText), { nil: undefined, freq: 20 }),
  );
  // What Node's HTTP parser lets through: no control characters but tab.
  const header = fc.string({ unit: fc.constantFrom('\t', ' ', '!', 'k', '~', '\x7f', '\xff'), maxLength: 300 });
  const headers = named('header', ({ schema }) => fc.oneof(drawAllowed(schema), header));
  const payload = drawPayload(operation.requestBody?.content['application/json'].schema);
  return fc.record({ parts, query, headers, type: mediaType, payload }).map((drawn) => {
    let index = 0;
    const [parameterValues, extra] = drawn.query;
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(parameterValues)) {
      search.append(name, typeof value === 'string' ? value : toText(value));
    }
    if (extra !== undefined) search.append(...extra);
    const text = search.toString();
    return {
      responses: operation.responses,
      method: method.toUpperCase() as DrawnRequest['method'],
      url: path.replaceAll(/\{\w+\}/g, () => drawn.parts[index++]!) + (text === '' ? '' : `?${text}`),
      headers: {
        ...(drawn.headers as Record<string, string>),
        ...(drawn.payload !== undefined && { 'content-type': drawn.type }),
      },
      payload: drawn.payload,
    };
  });
}
