// Tokens for SASL/OAUTHBEARER by the client-credentials grant (RFC 6749, section 4.4). Guarantees: a token is used again
// until a tenth of its life is left, one request at a time serves all connections, and the client's secret is read at each
// request and never part of an error. What the broker makes of a token is left to it.

import { type RequestOptions, request as requestPlainly } from 'node:http';
import { request as requestByTls } from 'node:https';
import { WaitingError } from '#service/failure.ts';
import type { Secret } from '#service/security/secret.ts';
import { explainTlsFailure } from '#service/security/tls-failure.ts';
import { readTlsFiles, type TlsFile } from '#service/security/tls-files.ts';

export interface TokenEndpoint {
  readonly url: URL;
  readonly clientId: string;
  readonly clientSecret: Secret;
  readonly scope?: string | undefined;
  /** The operating system's authorities without one. */
  readonly ca?: TlsFile | undefined;
}

/** The endpoint refused the client, or answered with something else than a token. */
class TokenRefusedError extends WaitingError {
  readonly code = 'KAFKA_TOKEN_REFUSED';
  override readonly name = 'TokenRefusedError';

  constructor(endpoint: TokenEndpoint, why: string) {
    super(
      `The token endpoint ${endpoint.url.host} ${why}. Correct KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL, ` +
        `KAFKA_SASL_OAUTHBEARER_CLIENT_ID, ${endpoint.clientSecret.name} or KAFKA_SASL_OAUTHBEARER_SCOPE`,
    );
  }
}

const REQUEST_LIMIT_MS = 10_000;
const MOST_BYTES = 256 * 1024;
/** Of a token that does not say how long it lives. */
const SHORT_LIFE_S = 60;
/** Before its end, or the broker's clock may call it expired. */
const SHARE_OF_LIFE = 0.9;

/** The function that returns a token which is valid now. It throws {@link TokenRefusedError}, or the network's error. */
export function createTokenSource(endpoint: TokenEndpoint, nowMs: () => number = Date.now): () => Promise<string> {
  let current: { readonly token: string; readonly untilMs: number } | undefined;
  let fetching: Promise<string> | undefined;
  const fetchToken = async (): Promise<string> => {
    const askedAtMs = nowMs();
    const { token, lifeMs } = await requestToken(endpoint);
    current = { token, untilMs: askedAtMs + lifeMs * SHARE_OF_LIFE };
    return token;
  };
  return async () => {
    if (current !== undefined && nowMs() < current.untilMs) return current.token;
    fetching ??= fetchToken().finally(() => {
      fetching = undefined;
    });
    return fetching;
  };
}

async function requestToken(endpoint: TokenEndpoint): Promise<{ token: string; lifeMs: number }> {
  const { clientId, clientSecret, scope } = endpoint;
  const body = new URLSearchParams({ grant_type: 'client_credentials', ...(scope === undefined ? {} : { scope }) });
  const credentials = `${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret.read())}`;
  const { status, text } = await post(endpoint, body.toString(), Buffer.from(credentials).toString('base64'));
  // Such answers end by themselves.
  if (status >= 500 || status === 429)
    throw Object.assign(new Error(`The token endpoint answered ${status}`), { code: 'EAGAIN' });
  if (status !== 200) throw new TokenRefusedError(endpoint, `refused this client with status ${status}`);
  const { access_token: token, expires_in: lifeS } = parseAnswer(endpoint, text);
  if (typeof token !== 'string' || token === '')
    throw new TokenRefusedError(endpoint, 'answered without an access_token');
  return { token, lifeMs: (typeof lifeS === 'number' && lifeS > 0 ? lifeS : SHORT_LIFE_S) * 1000 };
}

function parseAnswer(endpoint: TokenEndpoint, text: string): { access_token?: unknown; expires_in?: unknown } {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    // The parser's message repeats what it read, which may be a token.
    throw new TokenRefusedError(endpoint, 'answered with something that is not JSON');
  }
}

function post(endpoint: TokenEndpoint, body: string, credentials: string): Promise<{ status: number; text: string }> {
  const { url, ca } = endpoint;
  const options: RequestOptions = {
    method: 'POST',
    timeout: REQUEST_LIMIT_MS,
    headers: {
      authorization: `Basic ${credentials}`,
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': Buffer.byteLength(body),
      accept: 'application/json',
    },
  };
  return new Promise((resolve, reject) => {
    const isSecure = url.protocol === 'https:';
    const request = isSecure
      ? requestByTls(url, { ...options, agent: false, ...readTlsFiles({ ca: ca ?? 'system' }) })
      : requestPlainly(url, { ...options, agent: false });
    const variables = {
      address: 'KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL',
      ca: 'KAFKA_HTTPS_CA_LOCATION',
      certificate: '',
    };
    request.once('timeout', () =>
      request.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })),
    );
    request.once('error', (error) =>
      reject(explainTlsFailure(error, { server: `The token endpoint ${url.host}`, variables })),
    );
    request.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MOST_BYTES)
          request.destroy(new TokenRefusedError(endpoint, 'answered with far more than a token'));
      });
      response.once('error', reject);
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.end(body);
  });
}
