// Asks another service on its operations address. Guarantees: each answer within a deadline, with the token if there is one, and
// JSON checked against its schema; what went wrong names the host and, for a refusal, the remedy. What is asked is the caller's.
import type { z } from 'zod';
import { type CartsStatus, cartsStatus } from '#schemas/carts-status.ts';

export interface AskOptions {
  readonly deadlineMs: number;
  /** A bearer token, read at each use. */
  readonly token?: (() => string) | undefined;
}

/** @throws an Error whose message is for people, if there is no answer in time */
export async function askService(url: URL, { deadlineMs, token }: AskOptions): Promise<Response> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token()}` };
  try {
    return await fetch(url, { headers, redirect: 'error', signal: AbortSignal.timeout(deadlineMs) });
  } catch (cause) {
    throw explainNoAnswer(url, deadlineMs, cause as NoAnswer);
  }
}

/** @throws an Error whose message is for people */
export async function askJson<S extends z.ZodType>(url: URL, schema: S, options: AskOptions): Promise<z.infer<S>> {
  const answer = await askService(url, options);
  if (answer.status === 401 || answer.status === 403) {
    throw new Error(
      `${url.host} refuses the request (${answer.status}): OPERATIONS_TOKEN must have the scope operator`,
    );
  }
  if (!answer.ok) throw new Error(`${url.host} answered ${answer.status} to GET ${url.pathname}`);
  try {
    return schema.parse(await answer.json());
  } catch (cause) {
    if ((cause as Error).name === 'TimeoutError') throw explainNoAnswer(url, options.deadlineMs, cause as NoAnswer);
    throw new Error(`${url.host} answered GET ${url.pathname} in a form that is not known: is it of another version?`, {
      cause,
    });
  }
}

/** The carts side, from a sink. */
export const askCarts = (sink: string | URL, options: AskOptions): Promise<CartsStatus> =>
  askJson(new URL('/operations/carts', sink), cartsStatus, options);

type NoAnswer = Error & { readonly cause?: { readonly code?: string; readonly message?: string } };

function explainNoAnswer({ host }: URL, deadlineMs: number, error: NoAnswer): Error {
  const { name, message, cause } = error;
  if (name === 'TimeoutError') return new Error(`${host}: no answer in time (${deadlineMs} ms)`, { cause: error });
  return new Error(`${host}: ${cause?.code ?? cause?.message ?? message}`, { cause: error });
}
