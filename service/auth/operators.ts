/**
 * Who may read what belongs to users where health and metrics are: an operator's routes, on a port without users.
 *
 * Guarantees: on loopback, whoever has this machine; elsewhere a bearer of a token with the scope `operator`, or whoever reaches
 * the port if AUTH_NONE_IS_FINE=yes leaves that to something in front of it. Without either, a refusal that names the remedy.
 */
import { isLoopback } from '../http/loopback.ts';
import { ProblemError } from '../problem.ts';
import type { Access } from './access.ts';
import { OPERATOR, requireScope } from './ownership.ts';

export interface OperatorPort {
  /** Where the port listens. */
  readonly host: string;
  /** Undefined with AUTH=none. */
  readonly access: Access | undefined;
  readonly isOpen: boolean;
}

/** For a route's `onRequest`. It throws ProblemError 401 or 403, or 503 while no key is known. */
export function requireOperator({ host, access, isOpen }: OperatorPort) {
  return async ({ headers }: { readonly headers: { readonly authorization?: string | undefined } }): Promise<void> => {
    if (isLoopback(host)) return;
    if (access !== undefined) return requireScope(await access.identify(headers.authorization), OPERATOR);
    if (isOpen) return;
    throw new ProblemError({
      status: 403,
      title: 'Forbidden',
      detail:
        'Orders are shown on loopback, or with AUTH=jwt to a token with the scope operator; or set AUTH_NONE_IS_FINE=yes if ' +
        'something in front of this port decides who calls.',
    });
  };
}
