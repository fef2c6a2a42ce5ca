/**
 * Who calls: from the Authorization header of a request to a {@link Caller}.
 *
 * Guarantees: with AUTH=jwt a caller has a token that the issuer signed, for this audience, with a subject, and within its
 * time; a refused one learns in general words why (RFC 6750), never what the token or a library had to show. Leaves to
 * ownership.ts: what a caller may do.
 */
import { errors, jwtVerify } from 'jose';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import { ProblemError } from '../problem.ts';
import { createTokenKeys, KeysUnavailableError } from './keys.ts';
import type { TokenRules } from './variables.ts';

export type Caller =
  /** AUTH=none: whoever reaches the port. */
  | { readonly kind: 'anyone' }
  | { readonly kind: 'subject'; readonly subject: string; readonly scopes: ReadonlySet<string> };

export interface Access {
  /** @throws ProblemError 401, or 503 while no key is known */
  identify(authorization: string | undefined): Promise<Caller>;
}

/** AUTH=none */
export const openAccess: Access = { identify: async () => ({ kind: 'anyone' }) };

interface Surroundings {
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** For tests. */
  readonly cooldownMs?: number;
}

export function createAccess(rules: TokenRules | undefined, surroundings: Surroundings): Access {
  if (rules === undefined) return openAccess;
  const keys = createTokenKeys(rules.keys, surroundings);
  const { issuer, audience, clockSkewS } = rules;
  const verify = (token: string) =>
    jwtVerify(token, keys.find, {
      algorithms: keys.algorithms(),
      issuer,
      audience,
      clockTolerance: clockSkewS,
      requiredClaims: ['sub', 'exp'],
    });
  return {
    identify: async (authorization) => {
      if (authorization === undefined) throw createUnauthenticated();
      const [, token] = /^Bearer +([A-Za-z0-9._~+/=-]+)$/i.exec(authorization) ?? [];
      if (token === undefined) throw createUnauthenticated('The Authorization header is not "Bearer" and a token.');
      try {
        const { sub: subject, scope } = (await verify(token)).payload as Readonly<Record<string, unknown>>;
        // jose wants the claim to be there, and no more.
        if (typeof subject !== 'string') throw createUnauthenticated('The subject of the token is no text.');
        return { kind: 'subject', subject, scopes: readScopes(scope) };
      } catch (error) {
        throw explainRefusal(error);
      }
    },
  };
}

/** RFC 8693: words between blanks. */
function readScopes(scope: unknown): ReadonlySet<string> {
  return new Set(typeof scope === 'string' ? scope.split(' ') : []);
}

const REASONS: Readonly<Record<string, string>> = {
  ERR_JWT_EXPIRED: 'The token has expired.',
  ERR_JWT_CLAIM_VALIDATION_FAILED: 'The token is not valid now, or not for this API.',
  ERR_JWKS_NO_MATCHING_KEY: 'The token is signed by a key that the issuer does not publish.',
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: 'The signature of the token is wrong.',
};

/** What is no error of a token is a defect, and stays one. */
function explainRefusal(error: unknown): unknown {
  if (error instanceof KeysUnavailableError) {
    return new ProblemError({
      status: 503,
      title: 'Tokens can not be checked',
      detail: 'No key to check tokens with is available. Nothing was stored: retry.',
      headers: { 'retry-after': '5' },
    });
  }
  if (!(error instanceof errors.JOSEError)) return error;
  return createUnauthenticated(REASONS[error.code] ?? 'The token is not one that this API takes.');
}

/** Without `reason` nothing was wrong with the caller's token: there was none. */
function createUnauthenticated(reason?: string): ProblemError {
  return new ProblemError({
    status: 401,
    title: 'Unauthorized',
    detail: reason ?? 'This needs a token: Authorization: Bearer …',
    errors: [{ field: 'headers.authorization', message: reason === undefined ? 'is missing' : 'is not accepted' }],
    headers: { 'www-authenticate': reason === undefined ? 'Bearer' : `Bearer error="invalid_token"` },
  });
}
