/**
 * The environment variables of who may call the HTTP APIs, and what is made of them.
 *
 * Guarantees: an API that anybody can call listens on loopback, unless an operator has said that something in front of it
 * decides who calls; a variable that AUTH=none would ignore is a problem of the configuration, since whoever sets it
 * believes that tokens are checked. Leaves to access.ts: what a token is worth.
 */
import { choice, integer, optional, text, type Variable } from '../environment.ts';
import { isLoopback } from '../http/loopback.ts';

export const authVariables = {
  auth: choice('AUTH', 'Who may call: none (anybody), jwt (bearers of a token)', ['none', 'jwt'], 'none'),
  authNoneIsFine: optional(
    choice('AUTH_NONE_IS_FINE', 'yes: AUTH=none also where others than this machine reach the port', ['yes']),
  ),
  authJwksUrl: optional(httpsUrl('AUTH_JWKS_URL', 'Where the keys that sign tokens are published')),
  authPublicKey: optional(text('AUTH_PUBLIC_KEY_LOCATION', 'File of the one key that signs tokens, in place of that')),
  authIssuer: optional(text('AUTH_ISSUER', 'The iss of tokens')),
  authAudience: optional(text('AUTH_AUDIENCE', 'The aud of tokens: the name of this API at the issuer')),
  // Servers that keep time by NTP differ by less than a second.
  authClockSkewS: integer('AUTH_CLOCK_SKEW_SECONDS', 'Seconds by which the issuer’s clock may differ', {
    min: 0,
    max: 300,
    fallback: '10',
  }),
};

type Values = {
  readonly [K in keyof typeof authVariables]: (typeof authVariables)[K] extends Variable<infer T> ? T : never;
};

export type KeyPlace = { readonly jwksUrl: URL } | { readonly publicKeyFile: string };

export interface TokenRules {
  readonly keys: KeyPlace;
  readonly issuer: string;
  readonly audience: string;
  readonly clockSkewS: number;
}

/** What tokens must be; undefined with AUTH=none. Appends what is wrong to `problems`. */
export function authOf(values: Values & { readonly host: string }, problems: string[]): TokenRules | undefined {
  problems.push(...(values.auth === 'jwt' ? findMissing(values) : [...findIgnored(values), ...findExposed(values)]));
  const { authJwksUrl: jwksUrl, authPublicKey, authIssuer, authAudience } = values;
  if (values.auth === 'none') return undefined;
  return {
    keys: jwksUrl === undefined ? { publicKeyFile: authPublicKey! } : { jwksUrl },
    issuer: authIssuer!,
    audience: authAudience!,
    clockSkewS: values.authClockSkewS,
  };
}

/** The same of a process whose port has no users, and which asks no token of others: AUTH=none exposes nothing there. */
export function operatorAuthOf(values: Values, problems: string[]): TokenRules | undefined {
  return authOf({ ...values, host: '127.0.0.1' }, problems);
}

function findMissing({ authJwksUrl, authPublicKey, authIssuer, authAudience }: Values): string[] {
  const problems: string[] = [];
  if ((authJwksUrl === undefined) === (authPublicKey === undefined)) {
    problems.push('AUTH_JWKS_URL and AUTH_PUBLIC_KEY_LOCATION: set one of them for AUTH=jwt');
  }
  if (authIssuer === undefined) problems.push('AUTH_ISSUER is required for AUTH=jwt');
  if (authAudience === undefined) problems.push('AUTH_AUDIENCE is required for AUTH=jwt');
  return problems;
}

function findIgnored({ authJwksUrl, authPublicKey, authIssuer, authAudience }: Values): string[] {
  const set = {
    AUTH_JWKS_URL: authJwksUrl,
    AUTH_PUBLIC_KEY_LOCATION: authPublicKey,
    AUTH_ISSUER: authIssuer,
    AUTH_AUDIENCE: authAudience,
  };
  return Object.entries(set)
    .filter(([, value]) => value !== undefined)
    .map(([name]) => `${name} is ignored with AUTH=none: set AUTH=jwt, or unset ${name}`);
}

function findExposed({ host, authNoneIsFine }: Values & { readonly host: string }): string[] {
  if (authNoneIsFine === 'yes' || isLoopback(host)) return [];
  return [
    'AUTH: none lets everybody who reaches HOST read, pay and change what is anybody’s. Set AUTH=jwt, or HOST=127.0.0.1; ' +
      'or AUTH_NONE_IS_FINE=yes if something in front of this port decides who calls',
  ];
}

/** Over plain HTTP, whoever is in between could put keys of their own in place: on loopback nobody is. */
function httpsUrl(name: string, description: string): Variable<URL> {
  return {
    ...text(name, description),
    parse: (value) => {
      const url = URL.canParse(value) ? new URL(value) : undefined;
      const isFit =
        url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname.replace(/[[\]]/g, '')));
      if (!isFit || url?.username || url?.password) {
        throw new Error('expected a URL that begins with https:// and has no password (http:// only on loopback)');
      }
      return url!;
    },
  } as Variable<URL>;
}
