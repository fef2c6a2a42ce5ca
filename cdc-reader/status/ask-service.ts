// Asks another service on its operations address. Guarantees: each answer within a deadline, with the token if there is one, and
// JSON checked against its schema; what went wrong with that names the host and, for a refusal, the remedy. What is asked is the caller's.
import type { z } from 'zod';
import { type CartsStatus, cartsStatus } from '#schemas/carts-status.ts';
import type { OperationsAccess } from '#service/http/operations-access.ts';

export interface AskOptions {
  readonly deadlineMs: number;
  readonly access: Pick<OperationsAccess, 'token' | 'fetch'>;
}

/** @throws an Error whose message is why there is no answer, if there is none in time */
export async function askService(url: URL, { deadlineMs, access }: AskOptions): Promise<Response> {
  const { token, fetch } = access;
  const headers = token === undefined ? {} : { authorization: `Bearer ${token.read()}` };
  try {
    return await fetch(url, { headers, redirect: 'error', signal: AbortSignal.timeout(deadlineMs) });
  } catch (cause) {
    throw explainNoAnswer(cause as NoAnswer);
  }
}

/** @throws an Error whose message tells what is wrong with which host */
export async function askJson<S extends z.ZodType>(url: URL, schema: S, options: AskOptions): Promise<z.infer<S>> {
  const answer = await askService(url, options).catch((cause: Error) => {
    throw new Error(`${url.host} did not answer: ${cause.message}`, { cause });
  });
  if (answer.status === 401 || answer.status === 403) {
    throw new Error(
      `${url.host} refuses the request (${answer.status}): OPERATIONS_TOKEN must have the scope operator`,
    );
  }
  if (!answer.ok) throw new Error(`${url.host} answered ${answer.status} to GET ${url.pathname}`);
  try {
    return schema.parse(await answer.json());
  } catch (cause) {
    if ((cause as Error).name === 'TimeoutError') {
      throw new Error(`${url.host} did not answer: ${explainNoAnswer(cause as NoAnswer).message}`, { cause });
    }
    throw new Error(`${url.host} answered GET ${url.pathname} in a form that is not known: is it of another version?`, {
      cause,
    });
  }
}

/** The carts side, from a sink. */
export const askCarts = (sink: string | URL, options: AskOptions): Promise<CartsStatus> =>
  askJson(new URL('/operations/carts', sink), cartsStatus, options);

type NoAnswer = Error & { readonly cause?: { readonly code?: string; readonly message?: string } };

function explainNoAnswer(error: NoAnswer): Error {
  const { name, message, cause } = error;
  const why = name === 'TimeoutError' ? 'no answer in time' : (cause?.code ?? cause?.message ?? message);
  return new Error(why, { cause: error });
}
