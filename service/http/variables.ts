/**
 * The environment variables of a service with an API of its own beside health and metrics.
 *
 * Guarantees: health and metrics, whose texts are for operators, share the API's port on loopback only; all problems are
 * reported at once. Leaves to auth/variables.ts: who may call.
 */
import { authOf, authVariables, type TokenRules } from '../auth/variables.ts';
import { ConfigurationError, optional, port, text, type Variable } from '../environment.ts';
import { isLoopback } from './loopback.ts';

const operationsVariables = {
  operationsPort: optional(
    port('OPERATIONS_PORT', 'Port of health, metrics and /docs (default: the API’s, which only loopback allows)'),
  ),
  operationsHost: optional(text('OPERATIONS_HOST', 'Address to listen on for that port (default: that of HOST)')),
};

export const apiVariables = { ...operationsVariables, ...authVariables };

type Values = {
  readonly [K in keyof typeof apiVariables]: (typeof apiVariables)[K] extends Variable<infer T> ? T : never;
} & { readonly host: string; readonly port: number };

interface ApiSettings {
  /** Undefined with AUTH=none. */
  readonly tokenRules: TokenRules | undefined;
  /** Undefined where operations are on the API's port. */
  readonly operations: { readonly host: string; readonly port: number } | undefined;
}

/** @throws ConfigurationError */
export function apiOf(values: Values): ApiSettings {
  const problems: string[] = [];
  const tokenRules = authOf(values, problems);
  problems.push(...findOperationsProblems(values));
  if (problems.length > 0) throw new ConfigurationError(problems);
  const { host, operationsPort, operationsHost = host } = values;
  return {
    tokenRules,
    operations: operationsPort === undefined ? undefined : { host: operationsHost, port: operationsPort },
  };
}

/** Of a process without an API: health and metrics are all it has, on OPERATIONS_PORT where that is set. */
export function operationsOnly({ host, port, operationsPort = port, operationsHost = host }: Values) {
  return { host: operationsHost, port: operationsPort, tokenRules: undefined, operations: undefined };
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
