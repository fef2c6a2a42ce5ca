// An issuer of tokens: signs them with a key that it publishes as a JSON Web Key Set on a port of loopback.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';

export interface TokenIssuer {
  readonly jwksUrl: URL;
  readonly issuer: string;
  readonly audience: string;
  /** How often the key set was fetched. */
  readonly fetches: () => number;
  /** A good token of `subject`; `over` replaces what it claims. */
  sign(subject: string, scope?: string, over?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Signs with a new key from now on; withdraws the old ones, or publishes them beside it. */
  rotate(old: 'withdrawn' | 'kept'): Promise<void>;
  /** Answers every request with 503. */
  fail(isFailing: boolean): void;
  close(): void;
}

const LIFE_S = 300;

export async function startTokenIssuer(): Promise<TokenIssuer> {
  const issuer = 'https://issuer.test';
  const audience = 'tillstream';
  let published: JWK[] = [];
  let fetches = 0;
  let failing = false;
  const generate = async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const kid = crypto.randomUUID();
    return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256' } };
  };
  let current = await generate();
  published = [current.jwk];
  const server: Server = createServer((_request, response) => {
    fetches += 1;
    response.writeHead(failing ? 503 : 200, { 'content-type': 'application/json' });
    response.end(failing ? '{}' : JSON.stringify({ keys: published }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    jwksUrl: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`),
    issuer,
    audience,
    fetches: () => fetches,
    sign: (subject, scope = '', over = {}) => {
      const nowS = Math.floor(Date.now() / 1000);
      const claims = { iss: issuer, aud: audience, sub: subject, scope, iat: nowS, exp: nowS + LIFE_S, ...over };
      return new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: current.kid }).sign(current.privateKey);
    },
    rotate: async (old) => {
      current = await generate();
      published = old === 'kept' ? [...published, current.jwk] : [current.jwk];
    },
    fail: (isFailing) => {
      failing = isFailing;
    },
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
