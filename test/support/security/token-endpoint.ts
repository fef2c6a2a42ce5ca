// An OAuth token endpoint over TLS that gives unsigned tokens, as a broker's unsecured validator takes them, to one client.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Certificate } from './authority.ts';

export interface TokenEndpointServer {
  readonly url: string;
  readonly tokensGiven: () => number;
  close(): void;
}

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Tokens are for `subject` and live for `lifeS`. */
export async function startTokenEndpoint(options: {
  certificate: Certificate;
  clientId: string;
  clientSecret: string;
  subject: string;
  lifeS: number;
}): Promise<TokenEndpointServer> {
  const { certificate, clientId, clientSecret, subject, lifeS } = options;
  const basic = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
  let given = 0;
  const tls = { key: readFileSync(certificate.key), cert: readFileSync(certificate.certificate) };
  const server = createServer(tls, (request, response) => {
    request.resume();
    if (request.headers.authorization !== basic) {
      response.writeHead(401).end('{"error":"invalid_client"}');
      return;
    }
    given += 1;
    const nowS = Math.floor(Date.now() / 1000);
    const token = `${encode({ alg: 'none' })}.${encode({ sub: subject, iat: nowS, exp: nowS + lifeS })}.`;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ access_token: token, token_type: 'Bearer', expires_in: lifeS }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `https://127.0.0.1:${port}/token`, tokensGiven: () => given, close: () => void server.close() };
}
