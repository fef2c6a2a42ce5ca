// What the sinks know, by their operations addresses: the reader has no way into the carts database. Guarantees: an answer within
// a second; any sink will do, since all serve one database, and the first answer counts.
import { cartsOrder } from '#schemas/order-path.ts';
import type { OperationsAccess } from '#service/http/operations-access.ts';
import { type AskOptions, askCarts, askJson } from '../status/ask-service.ts';
import type { PathSources } from './order-path.ts';

const DEADLINE_MS = 1_000;

interface SinkAddresses {
  /** CART_SINK_OPERATIONS_URLS; none: it is unset. */
  readonly urls: readonly URL[];
  readonly access: OperationsAccess;
}

export function createSinkFacts({ urls, access }: SinkAddresses): PathSources['carts'] {
  const options = { deadlineMs: DEADLINE_MS, access };
  const askAny = async <T>(ask: (sink: URL, options: AskOptions) => Promise<T>): Promise<T> => {
    if (urls.length === 0) {
      throw new Error('set CART_SINK_OPERATIONS_URLS to the operations addresses of the sinks, or run npm run find');
    }
    return await Promise.any(urls.map((url) => ask(url, options))).catch((error: AggregateError) => {
      throw error.errors[0];
    });
  };
  return {
    readOrder: (orderId) =>
      askAny((sink) => askJson(new URL(`/operations/orders/${orderId}`, sink), cartsOrder, options)),
    readStatus: () => askAny(askCarts),
  };
}
