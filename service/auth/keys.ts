/**
 * The public keys that tokens are checked with: a set that the issuer publishes, or one file.
 *
 * Guarantees: a rotated key is known at the first token that names it, and a withdrawn one is given up within minutes; while
 * the issuer is away, known keys go on; without any, the error tells that apart from a bad token. A changed key file is
 * in force at the next token. Only asymmetric algorithms: with others, a published key could sign.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRemoteJWKSet, errors, type JWTVerifyGetKey } from 'jose';
import { WaitingError } from '../failure.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { KeyPlace } from './variables.ts';

const KEYS_AWAY = 'auth.keys-away';
const KEYS_BACK = 'auth.keys-back';

/** How long a withdrawn key stays in force at most, while the issuer answers. */
const REFRESH_MS = 5 * 60_000;
/** Tokens with invented key ids make one request to the issuer in this time. */
const COOLDOWN_MS = 30_000;
const FETCH_TIMEOUT_MS = 5_000;

export interface TokenKeys {
  readonly find: JWTVerifyGetKey;
  readonly algorithms: () => string[];
}

/** No key is available: neither the token nor the caller is to blame. */
export class KeysUnavailableError extends WaitingError {
  readonly code = 'AUTH_KEYS';
  override readonly name = 'KeysUnavailableError';
}

interface Surroundings {
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** For tests. */
  readonly cooldownMs?: number;
}

/** Refreshes for the life of the process. */
export function createTokenKeys(place: KeyPlace, surroundings: Surroundings): TokenKeys {
  return 'jwksUrl' in place ? createKeySet(place.jwksUrl, surroundings) : createKeyFile(place.publicKeyFile);
}

const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
const ALL = [...RSA, 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];

function createKeySet(url: URL, { logger, metrics, cooldownMs = COOLDOWN_MS }: Surroundings): TokenKeys {
  const away = metrics.gauge(
    'tillstream_auth_keys_away',
    'Whether the keys at AUTH_JWKS_URL could not be fetched last (1)',
  );
  away.set(0);
  // jose would drop what it knows with its age: known keys go on here.
  const keys = createRemoteJWKSet(url, {
    cacheMaxAge: Number.POSITIVE_INFINITY,
    cooldownDuration: cooldownMs,
    timeoutDuration: FETCH_TIMEOUT_MS,
  });
  let isAway = false;
  const note = (error: unknown): void => {
    const wasAway = isAway;
    isAway = error !== undefined;
    away.set(isAway ? 1 : 0);
    if (isAway === wasAway) return;
    if (isAway) logger.warn({ event: KEYS_AWAY, err: error }, `${explain(url)} Known keys go on.`);
    else logger.info({ event: KEYS_BACK }, 'The keys at AUTH_JWKS_URL are fetched again.');
  };
  const refresh = (): Promise<void> => keys.reload().then(() => note(undefined), note);
  void refresh();
  setInterval(refresh, REFRESH_MS).unref();
  return {
    algorithms: () => ALL,
    find: async (header, token) => {
      try {
        return await keys(header, token);
      } catch (error) {
        if (isOfToken(error)) throw error;
        note(error);
        throw new KeysUnavailableError(explain(url), { cause: error });
      }
    },
  };
}

/** The set was read, and does not have what the token names. */
function isOfToken(error: unknown): boolean {
  const { JOSENotSupported, JWKSMultipleMatchingKeys, JWKSNoMatchingKey } = errors;
  return [JOSENotSupported, JWKSMultipleMatchingKeys, JWKSNoMatchingKey].some((kind) => error instanceof kind);
}

function explain(url: URL): string {
  return `AUTH_JWKS_URL: ${url.host} did not answer with a set of keys: check that address, and whether it can be reached.`;
}

function createKeyFile(path: string): TokenKeys {
  let known: { readonly text: string; readonly key: KeyObject } | undefined;
  const read = (): KeyObject => {
    try {
      const text = readFileSync(path, 'utf8');
      if (known?.text !== text) known = { text, key: createPublicKey(text) };
      return known.key;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const message = `AUTH_PUBLIC_KEY_LOCATION: the file can't be read, or is no public key in PEM format (${code}).`;
      throw new KeysUnavailableError(message, { cause: error });
    }
  };
  return { algorithms: () => algorithmsOf(read()), find: async () => read() };
}

const CURVES: Readonly<Record<string, string>> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' };

function algorithmsOf(key: KeyObject): string[] {
  if (key.asymmetricKeyType === 'rsa') return RSA;
  if (key.asymmetricKeyType === 'ed25519') return ['EdDSA', 'Ed25519'];
  const algorithm = CURVES[key.asymmetricKeyDetails?.namedCurve ?? ''];
  if (algorithm !== undefined) return [algorithm];
  throw new KeysUnavailableError(
    'AUTH_PUBLIC_KEY_LOCATION: tokens are not signed by a key of this kind: use RSA, Ed25519, P-256, P-384 or P-521.',
  );
}
