// What is asked of other services, and what comes of it when they are away, slow, of another version, or refuse.
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Secret } from '#service/security/secret.ts';
import { createSinkFacts } from '../../../../cdc-reader/find/ask-sinks.ts';
import { askJson } from '../../../../cdc-reader/status/ask-service.ts';
import { readService } from '../../../../cdc-reader/status/read-service.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function serve(listener: RequestListener): Promise<URL> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
}
const answer =
  (status: number, body = ''): RequestListener =>
  (_request, response) =>
    response.writeHead(status).end(body);
const silent: RequestListener = () => undefined;
const slowBody: RequestListener = (_request, response) => void response.writeHead(200).write('{');
const access = { token: undefined, fetch, certificates: [] };
const ask = (url: URL, deadlineMs = 5_000) =>
  askJson(new URL('/x', url), z.object({ n: z.int() }), { deadlineMs, access });

describe('asking a service', () => {
  it('brings what it answers, checked, with the token of now', async () => {
    const seen: (string | undefined)[] = [];
    const url = await serve(({ headers }, response) => {
      seen.push(headers.authorization);
      response.end('{"n":1,"more":2}');
    });
    expect(await ask(url)).toEqual({ n: 1 });
    let token = 'a';
    const options = { deadlineMs: 5_000, access: { ...access, token: { read: () => token } as Secret } };
    await askJson(url, z.object({}), options);
    token = 'b';
    await askJson(url, z.object({}), options);
    expect(seen).toEqual([undefined, 'Bearer a', 'Bearer b']);
  });

  it.each<[what: string, listener: RequestListener, message: RegExp]>([
    ['it refuses', answer(403), /:\d+ refuses the request \(403\): OPERATIONS_TOKEN must have the scope operator/],
    ['it does not have that', answer(404), /:\d+ answered 404 to GET \/x$/],
    ['it is of another version', answer(200, '{"n":"one"}'), /in a form that is not known: is it of another version/],
    ['it is no service of ours', answer(200, '<html>'), /in a form that is not known/],
  ])('says what is wrong when %s', async (_what, listener, message) => {
    await expect(ask(await serve(listener))).rejects.toThrow(message);
  });

  it.each([
    ['does not answer', silent],
    ['stops in the midst of its answer', slowBody],
  ])('gives up at the deadline when it %s', async (_what, listener) => {
    await expect(ask(await serve(listener), 50)).rejects.toThrow(/:\d+ did not answer: no answer in time/);
  });

  it('names the error when nobody listens', async () => {
    const url = await serve(silent);
    await new Promise((resolve) => servers.pop()!.close(resolve));
    await expect(ask(url)).rejects.toThrow(`${url.host} did not answer: ECONNREFUSED`);
    const reading = await readService({ kind: 'cart-sink', url: url.href }, { deadlineMs: 5_000, access });
    expect(reading).toMatchObject({ answer: undefined, carts: undefined, recent: undefined });
    expect(reading.problem).toBe('ECONNREFUSED');
    expect(reading.cartsProblem).toBe(`${url.host} did not answer: ECONNREFUSED`);
  });
});

describe('asking the sinks', () => {
  const status = {
    partitions: [],
    haltedPartitions: [],
    parked: { count: 0, newest: [] },
    replayRuns: [],
    lastAudit: null,
    lastReplay: null,
  };

  it('takes the first answer, whichever are away', async () => {
    const urls = [await serve(answer(500)), await serve(answer(200, JSON.stringify(status)))];
    expect(await createSinkFacts({ urls, access }).readStatus()).toEqual(status);
  });

  it('says what is wrong when none answers, and what to set when none is known', async () => {
    const urls = [await serve(answer(500)), await serve(answer(403))];
    await expect(createSinkFacts({ urls, access }).readStatus()).rejects.toThrow('500');
    await expect(createSinkFacts({ urls: [], access }).readStatus()).rejects.toThrow('set CART_SINK_OPERATIONS_URLS');
  });
});
