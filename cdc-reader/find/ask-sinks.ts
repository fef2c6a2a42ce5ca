// What the sinks know, by their operations addresses: the reader has no way into the carts database. Guarantees: each answer
// within a second, checked against its schema; any sink will do, since all serve one database. What a refusal means is in the
// message, with its remedy.
import type { z } from 'zod';
import { cartsStatus } from '#schemas/carts-status.ts';
import { cartsOrder } from '#schemas/order-path.ts';
import type { Secret } from '#service/security/secret.ts';
import type { PathSources } from './order-path.ts';

const DEADLINE_MS = 1_000;

interface SinkAddresses {
  /** CART_SINK_OPERATIONS_URLS; none: it is unset. */
  readonly urls: readonly URL[];
  /** OPERATIONS_TOKEN, read at each request. */
  readonly token: Secret | undefined;
}

export function createSinkFacts({ urls, token }: SinkAddresses): PathSources['carts'] {
  const ask = async <S extends z.ZodType>(path: string, schema: S): Promise<z.infer<S>> => {
    if (urls.length === 0) {
      throw new Error('set CART_SINK_OPERATIONS_URLS to the operations addresses of the sinks, or run npm run find');
    }
    const headers = token === undefined ? {} : { authorization: `Bearer ${token.read()}` };
    const answers = urls.map((url) => askOne(new URL(path, url), headers, schema));
    return await Promise.any(answers).catch((error: AggregateError) => {
      throw error.errors[0];
    });
  };
  return {
    readOrder: (orderId) => ask(`/operations/orders/${orderId}`, cartsOrder),
    readStatus: () => ask('/operations/carts', cartsStatus),
  };
}

async function askOne<S extends z.ZodType>(
  url: URL,
  headers: Readonly<Record<string, string>>,
  schema: S,
): Promise<z.infer<S>> {
  const answer = await fetch(url, { headers, redirect: 'error', signal: AbortSignal.timeout(DEADLINE_MS) }).catch(
    (cause) => {
      throw new Error(`${url.host} did not answer within ${DEADLINE_MS} ms`, { cause });
    },
  );
  if (answer.status === 401 || answer.status === 403) {
    throw new Error(
      `${url.host} refuses the request (${answer.status}): OPERATIONS_TOKEN must have the scope operator`,
    );
  }
  if (!answer.ok) throw new Error(`${url.host} answered ${answer.status}`);
  return schema.parse(await answer.json());
}
