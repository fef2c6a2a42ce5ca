// Adding goods with an Idempotency-Key, and the limits of a cart, over HTTP and with a real database: a key adds once,
// whatever is repeated, and however many requests bring it at once.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openAccess } from '#service/auth/access.ts';
import { forgetOldKeys } from '../../../cart-sink/cart-api/forget-keys.ts';
import { createCartServer } from '../../../cart-sink/cart-api/server.ts';
import type { HttpServer } from '../../../service/http-server.ts';
import { createMetrics } from '../../../service/metrics.ts';
import { exchangeRaw, readProblem, readStatuses } from '../../support/network/raw-http.ts';
import { type CartDatabase, createCartDatabase, silent } from '../../support/postgres/cart-database.ts';
import { connectTo } from '../../support/postgres/order-database.ts';
import { waitFor } from '../../support/wait.ts';

let carts: CartDatabase;
let server: HttpServer;
let url: string;
const metrics = createMetrics('cart-sink');

beforeAll(async () => {
  carts = await createCartDatabase('cart_keys');
  server = await createCartServer({
    host: '127.0.0.1',
    port: 0,
    database: carts.connect(),
    logger: silent,
    metrics,
    readiness: () => ({ ready: true, body: {} }),
    access: openAccess,
  });
  url = await server.listen();
});
afterAll(async () => {
  await server.close();
  await carts.cleanUp();
});
beforeEach(() => carts.query('TRUNCATE cart_lines, cart_line_keys'));

async function add(userId: string, body: object, key?: string) {
  const response = await fetch(`${url}/carts/${userId}/lines`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key !== undefined && { 'idempotency-key': key }) },
    body: JSON.stringify(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: what a server answers is what the tests read
  return { status: response.status, body: (await response.json()) as any };
}
const tea = { sku: 'tea', quantity: 2 };
const countKeys = async () => Number((await carts.query('SELECT count(*) FROM cart_line_keys'))[0]!.count);

describe('a key', () => {
  it('answers the same request again with 200 and the first answer, and adds nothing', async () => {
    const first = await add('ada', tea, '!~');
    expect(first.status).toBe(201);
    await add('ada', tea);
    expect(await add('ada', { quantity: 2, sku: 'tea' }, '!~')).toEqual({ status: 200, body: first.body });
    expect(await carts.readLines()).toEqual(['ada tea 4']);
  });

  it('answers so too when the line is full or gone since, or the cart is full', async () => {
    const first = await add('ada', { sku: 'tea', quantity: 1_000_000 }, 'k');
    const again = () => add('ada', { sku: 'tea', quantity: 1_000_000 }, 'k');
    expect(await again()).toEqual({ status: 200, body: first.body });
    await fetch(`${url}/carts/ada/lines/${first.body.lineId}`, { method: 'DELETE' });
    expect(await again()).toEqual({ status: 200, body: first.body });
    await fillCart('ada', 1_000);
    expect(await again()).toEqual({ status: 200, body: first.body });
    expect((await carts.readLines()).filter((line) => line.includes(' tea '))).toEqual([]);
  });

  it.each([
    { sku: 'tea', quantity: 3 },
    { sku: 'mug', quantity: 2 },
  ])('is refused with 422 for another request, %j, and nothing is added', async (other) => {
    await add('ada', tea, 'k');
    const { status, body } = await add('ada', other, 'k');
    expect([status, body.errors]).toEqual([422, [{ field: 'headers.idempotency-key', message: expect.any(String) }]]);
    expect(await carts.readLines()).toEqual(['ada tea 2']);
  });

  it('belongs to one user', async () => {
    expect([(await add('ada', tea, 'k')).status, (await add('bob', tea, 'k')).status]).toEqual([201, 201]);
  });

  it('of a request that is refused is not stored', async () => {
    await add('ada', { sku: 'tea', quantity: 1_000_000 });
    expect((await add('ada', tea, 'k')).status).toBe(422);
    expect((await add('ada', { sku: 'tea', quantity: 0 }, 'k')).status).toBe(400);
    expect(await countKeys()).toBe(0);
    expect((await add('ada', { sku: 'mug', quantity: 1 }, 'k')).status).toBe(201);
  });

  it('brought by two requests at once adds once: one 201, one 200, for each of 60 pairs', async () => {
    const pairs = Array.from({ length: 60 }, async (_, pair) => {
      const [one, two] = await Promise.all([1, 2].map(() => add(`u${pair}`, tea, 'twice')));
      expect([one!.status, two!.status].toSorted()).toEqual([200, 201]);
      expect(one!.body).toEqual(two!.body);
    });
    await Promise.all(pairs);
    expect((await carts.readLines()).every((line) => line.endsWith(' tea 2'))).toBe(true);
  });

  it('brought by two different requests at once keeps one and refuses the other, for each of 60 pairs', async () => {
    const pairs = Array.from({ length: 60 }, async (_, pair) => {
      const answers = await Promise.all(['a', 'b'].map((sku) => add(`u${pair}`, { sku, quantity: 1 }, 'k')));
      expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 422]);
    });
    await Promise.all(pairs);
    expect(await carts.readLines()).toHaveLength(60);
  });

  it('brought by ten requests at once, beside ten without, adds once', async () => {
    const keys = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? 'k' : undefined));
    const answers = await Promise.all(keys.map((key) => add('ada', tea, key)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([...Array(9).fill(200), ...Array(11).fill(201)]);
    expect(await carts.readLines()).toEqual(['ada tea 22']);
  });

  it('is 1 to 255 visible ASCII characters, sent once', async () => {
    const statuses = ['!', '~', 'k'.repeat(255), 'k'.repeat(256), 'a b', ''].map(async (key) => add('ada', tea, key));
    expect((await Promise.all(statuses)).map(({ status }) => status)).toEqual([201, 201, 201, 400, 400, 400]);
    for (const lines of [
      'Idempotency-Key: a\r\nIdempotency-Key: a',
      'Idempotency-Key: \xe9',
      'Idempotency-Key: a\tb',
    ]) {
      const text = `POST /carts/eve/lines HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 26\r\n${lines}\r\nConnection: close\r\n\r\n{"sku":"tea","quantity":2}`;
      const received = await exchangeRaw(url, Buffer.from(text, 'latin1'));
      expect(readStatuses(received)).toEqual([400]);
      expect(readProblem(received).errors).toMatchObject([{ field: 'headers.idempotency-key' }]);
    }
  });

  it('is in the description of the API, and its use is counted', async () => {
    const { paths } = (await (await fetch(`${url}/docs/json`)).json()) as {
      // biome-ignore lint/suspicious/noExplicitAny: an OpenAPI document
      paths: any;
    };
    const { parameters, responses } = paths['/carts/{userId}/lines'].post;
    expect(parameters).toContainEqual(
      expect.objectContaining({ name: 'idempotency-key', in: 'header', required: false }),
    );
    expect(Object.keys(responses)).toEqual(expect.arrayContaining(['200', '201', '408', '422', '503', '504']));
    await add('ada', tea, 'k');
    await add('ada', tea, 'k');
    await add('ada', { sku: 'mug', quantity: 2 }, 'k');
    const text = await metrics.render();
    expect(text).toMatch(/^tillstream_carts_replayed_total [1-9]/m);
    expect(text).toMatch(/^tillstream_carts_key_conflicts_total [1-9]/m);
  });
});

describe('old keys', () => {
  const stop = new AbortController();
  afterEach(() => stop.abort());

  it('are forgotten after a day, in batches, and younger ones kept', async () => {
    await carts.query(`
      INSERT INTO cart_line_keys (user_id, idempotency_key, sku, added, line_id, line_quantity, line_created_at, stored_at)
      SELECT 'ada', 'k' || n, 'tea', 1, gen_random_uuid(), 1, now(),
        now() - CASE WHEN n <= 2500 THEN interval '24 hours 1 second' ELSE interval '23 hours 59 minutes' END
      FROM generate_series(1, 2600) AS n`);
    const own = createMetrics('cart-sink');
    const running = forgetOldKeys({
      database: carts.database.pool,
      logger: silent,
      metrics: own,
      signal: stop.signal,
    });
    await waitFor('the first batch', async () => (await countKeys()) === 1_600);
    await waitFor('the old ones to be gone', async () => (await countKeys()) === 100, { deadlineMs: 20_000 });
    expect(await own.render()).toMatch(/^tillstream_cart_keys_forgotten_total 2500$/m);
    stop.abort();
    await running;
  });

  it('are found by their age without reading the others', async () => {
    await carts.query(`
      INSERT INTO cart_line_keys (user_id, idempotency_key, sku, added, line_id, line_quantity, line_created_at)
      SELECT 'ada', 'k' || n, 'tea', 1, gen_random_uuid(), 1, now() FROM generate_series(1, 20000) AS n`);
    await carts.query('ANALYZE cart_line_keys');
    const plan = await carts.query(`EXPLAIN (FORMAT JSON)
      SELECT ctid FROM cart_line_keys WHERE stored_at < now() - interval '24 hours'
      ORDER BY stored_at LIMIT 1000 FOR UPDATE SKIP LOCKED`);
    expect(JSON.stringify(plan)).toContain('cart_line_keys_by_age');
    expect(JSON.stringify(plan)).not.toContain('Seq Scan');
  });
});

async function fillCart(userId: string, lines: number): Promise<void> {
  await carts.query(
    `INSERT INTO cart_lines (line_id, user_id, sku, quantity)
     SELECT gen_random_uuid(), $1, 's' || n, 1 FROM generate_series(1, $2::int) AS n`,
    [userId, lines],
  );
}

describe('a cart of 1,000 lines', () => {
  it('takes no further one, with a problem that says so, and goes on with those it has', async () => {
    await fillCart('ada', 999);
    expect((await add('ada', tea)).status).toBe(201);
    const refused = await add('ada', { sku: 'mug', quantity: 1 });
    expect([refused.status, refused.body.title, refused.body.errors[0].field]).toEqual([
      422,
      'Too many lines',
      'body.sku',
    ]);
    expect((await add('ada', tea)).body.quantity).toBe(4);
    expect((await add('bob', tea)).status).toBe(201);
    const { body } = await add('ada', { sku: 's7', quantity: 1 });
    expect((await fetch(`${url}/carts/ada/lines/${body.lineId}`, { method: 'DELETE' })).status).toBe(204);
    expect((await add('ada', { sku: 'mug', quantity: 1 })).status).toBe(201);
  });

  it('is never exceeded by requests that come at once', async () => {
    await fillCart('ada', 990);
    const adding = Array.from({ length: 40 }, (_, index) =>
      add('ada', { sku: `new-${index}`, quantity: 1 }, index % 2 === 0 ? `k${index}` : undefined),
    );
    const statuses = (await Promise.all(adding)).map(({ status }) => status);
    expect(statuses.toSorted()).toEqual([...Array(10).fill(201), ...Array(30).fill(422)]);
    expect(await carts.readLines()).toHaveLength(1_000);
  });

  it('waits for a line that is being added to it, and counts that', async () => {
    await fillCart('ada', 999);
    const other = await connectTo(carts.url);
    try {
      await other.query('BEGIN');
      await other.query("SELECT cart_has_room('ada', 1000)");
      await other.query(
        "INSERT INTO cart_lines (line_id, user_id, sku, quantity) VALUES (gen_random_uuid(), 'ada', 'other', 1)",
      );
      const adding = add('ada', tea);
      await waitFor('the request to wait', async () => {
        const waiting = await carts.query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
        return waiting.length > 0;
      });
      await other.query('COMMIT');
      expect((await adding).status).toBe(422);
    } finally {
      await other.end();
    }
    expect(await carts.readLines()).toHaveLength(1_000);
  });

  it('and more, by other writers, can be read and emptied', async () => {
    await fillCart('ada', 5_000);
    const response = await fetch(`${url}/carts/ada`);
    const { lines } = (await response.json()) as { lines: { lineId: string }[] };
    expect([response.status, lines.length]).toEqual([200, 5_000]);
    const removed = await fetch(`${url}/carts/ada/lines/${lines[0]!.lineId}`, { method: 'DELETE' });
    expect(removed.status).toBe(204);
    expect((await add('ada', { sku: 'new', quantity: 1 })).status).toBe(422);
  });
});
