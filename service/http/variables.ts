/**
 * The environment variables of a service with an API of its own beside health and metrics.
 *
 * Guarantees: health and metrics, whose texts are for operators, share the API's port on loopback only; all problems are
 * reported at once. Leaves to auth/variables.ts: who may call.
 */

import { isIP } from 'node:net';
import { authOf, authVariables, operatorAuthOf, type TokenRules } from '../auth/variables.ts';
import { ConfigurationError, integer, list, optional, port, text, type Variable } from '../environment.ts';
import { isLoopback } from './loopback.ts';

/** 100 a second: more than a person's browser or a till makes, less than what keeps the others waiting. */
const MOST_ELSEWHERE = 6_000;

const operationsVariables = {
  operationsPort: optional(
    port('OPERATIONS_PORT', 'Port of health, metrics and /docs (default: the API’s, which only loopback allows)'),
  ),
  operationsHost: optional(text('OPERATIONS_HOST', 'Address to listen on for that port (default: that of HOST)')),
};

const limitVariables = {
  rateLimitPerMinute: optional(
    integer(
      'RATE_LIMIT_PER_MINUTE',
      `Requests of one caller in a minute; 0: any number (default: 0 on loopback, else ${MOST_ELSEWHERE})`,
      {
        min: 0,
        max: 10_000_000,
      },
    ),
  ),
  trustedProxies: optional(
    list('TRUSTED_PROXIES', 'Addresses or CIDR ranges of proxies whose X-Forwarded-For names the caller’s address'),
  ),
};

export const apiVariables = { ...operationsVariables, ...authVariables, ...limitVariables };

/** Comma-separated addresses of HTTP servers, without a path. */
export function httpUrls(name: string, description: string): Variable<readonly URL[]> {
  const entries = list(name, description);
  return {
    ...(entries as Variable<never>),
    parse: (value, source) =>
      entries.parse(value, source).map((entry) => {
        const url = URL.parse(entry);
        const rest = url && url.pathname + url.search + url.hash + url.username + url.password;
        if (url === null || !/^https?:$/.test(url.protocol) || rest !== '/') {
          throw new Error('expected comma-separated URLs without path or password, like http://10.0.0.3:3003');
        }
        return url;
      }),
  };
}

type Values = {
  readonly [K in keyof typeof apiVariables]: (typeof apiVariables)[K] extends Variable<infer T> ? T : never;
} & { readonly host: string; readonly port: number };

interface ApiSettings {
  /** Undefined with AUTH=none. */
  readonly tokenRules: TokenRules | undefined;
  /** Undefined where operations are on the API's port. */
  readonly operations: { readonly host: string; readonly port: number } | undefined;
  /** Of one caller; 0 is no limit. */
  readonly requestsPerMinute: number;
  readonly trustedProxies: readonly string[];
}

/** @throws ConfigurationError */
export function apiOf(values: Values): ApiSettings {
  const problems: string[] = [];
  const tokenRules = authOf(values, problems);
  problems.push(...findOperationsProblems(values), ...findProxyProblems(values));
  if (problems.length > 0) throw new ConfigurationError(problems);
  const { host, operationsPort, operationsHost = host, trustedProxies = [] } = values;
  const { rateLimitPerMinute: requestsPerMinute = isLoopback(host) ? 0 : MOST_ELSEWHERE } = values;
  return {
    tokenRules,
    requestsPerMinute,
    trustedProxies,
    operations: operationsPort === undefined ? undefined : { host: operationsHost, port: operationsPort },
  };
}

/**
 * Of a process without an API: health, metrics and what operators may read, on OPERATIONS_PORT where that is set.
 * @throws ConfigurationError
 */
export function operationsOnly(values: Values): ApiSettings & { readonly host: string; readonly port: number } {
  const { host, port, operationsPort = port, operationsHost = host } = values;
  const problems: string[] = [];
  const tokenRules = operatorAuthOf(values, problems);
  if (problems.length > 0) throw new ConfigurationError(problems);
  const noUsers = { operations: undefined, requestsPerMinute: 0, trustedProxies: [] };
  return { host: operationsHost, port: operationsPort, tokenRules, ...noUsers };
}

function findOperationsProblems({ host, port, operationsPort, operationsHost }: Values): string[] {
  if (operationsPort === undefined) {
    if (operationsHost !== undefined) return ['OPERATIONS_HOST is ignored without OPERATIONS_PORT: set both or none'];
    if (isLoopback(host)) return [];
    return [
      'OPERATIONS_PORT is required where HOST is not loopback: health and metrics are for operators, not for everybody ' +
        'who reaches the API. Set it to a port that only they reach',
    ];
  }
  const isSame = operationsPort !== 0 && operationsPort === port;
  return isSame ? ['OPERATIONS_PORT must not be PORT: leave it unset to have both on one port of loopback'] : [];
}

function findProxyProblems({ trustedProxies = [] }: Values): string[] {
  const isRange = (entry: string): boolean => {
    const [, address = '', bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(entry) ?? [];
    const version = isIP(address);
    return version !== 0 && Number(bits ?? 0) <= (version === 4 ? 32 : 128);
  };
  return trustedProxies.every(isRange) ? [] : ['TRUSTED_PROXIES: expected IP addresses, or ranges like 10.0.0.0/8'];
}
