// Shoppers for the demo: each fills its cart over the cart API and orders some of it over the order API, at a steady rate.
// Guarantees: a request that fails is repeated with its Idempotency-Key until it gets its answer, as a shop's page would; so every
// order that was begun is placed, once, whatever the demo breaks meanwhile. What becomes of the carts is the pipeline's.
import { setTimeout as delay } from 'node:timers/promises';

const GOODS = ['tea', 'mug', 'spoon', 'kettle', 'honey', 'tray'] as const;
const USERS = 400;
/** Shoppers at a time; while a service is away they pile up, and beyond this nobody comes. */
const MOST_AT_A_TIME = 200;
const REPEAT_MS = 250;
const REQUEST_LIMIT_MS = 10_000;

export interface Shoppers {
  /** Orders placed so far. */
  placed(): number;
  /** Nobody comes any more; resolves when all who came have ordered, or `signal` is aborted. */
  leave(): Promise<void>;
}

export function startShoppers(options: {
  orderApiUrl: string;
  cartSinkUrl: string;
  /** Orders a second. */
  rate: number;
  /** Uniform in [0, 1). */
  random: () => number;
  signal: AbortSignal;
}): Shoppers {
  const { orderApiUrl, cartSinkUrl, rate, random, signal } = options;
  const run = Date.now().toString(36);
  const shopping = new Set<Promise<void>>();
  let placed = 0;
  let came = 0;
  let isClosed = false;

  const post = async (url: string, key: string, body: object): Promise<void> => {
    for (;;) {
      signal.throwIfAborted();
      const status = await postOnce(url, key, body, signal);
      if (status === 201 || status === 200) return;
      // A full cart, or a sum beyond the limit: what was asked for is not to be had, and the order goes on without it.
      if (status === 422) return;
      await delay(REPEAT_MS, undefined, { signal });
    }
  };

  const shop = async (number: number): Promise<void> => {
    const userId = `demo-${run}-${number % USERS}`;
    const first = Math.floor(random() * GOODS.length);
    const items = Array.from({ length: 1 + Math.floor(random() * 3) }, (_, index) => ({
      sku: GOODS[(first + index) % GOODS.length]!,
      quantity: 1 + Math.floor(random() * 4),
      unitPriceCents: 450,
    }));
    for (const { sku, quantity } of items) {
      const added = { sku, quantity: quantity + Math.floor(random() * 2) };
      await post(`${cartSinkUrl}/carts/${userId}/lines`, `${run}-${number}-${sku}`, added);
    }
    await post(`${orderApiUrl}/orders`, `${run}-${number}`, { userId, items });
    placed += 1;
  };

  const come = async (): Promise<void> => {
    const startedMs = performance.now();
    while (!isClosed && !signal.aborted) {
      const due = ((performance.now() - startedMs) * rate) / 1_000;
      for (; came < due; came += 1) {
        if (shopping.size >= MOST_AT_A_TIME) continue;
        const one = shop(came)
          .catch((error: unknown) => {
            if (!signal.aborted) throw error;
          })
          .finally(() => shopping.delete(one));
        shopping.add(one);
      }
      await delay(Math.min(1_000 / rate, 50), undefined, { signal }).catch(() => undefined);
    }
  };
  const coming = come();

  return {
    placed: () => placed,
    async leave() {
      isClosed = true;
      await coming;
      await Promise.all(shopping);
    },
  };
}

/** The status; undefined where no answer came. */
async function postOnce(url: string, key: string, body: object, signal: AbortSignal): Promise<number | undefined> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify(body),
      signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_LIMIT_MS)]),
    });
    await response.arrayBuffer();
    return response.status;
  } catch {
    return undefined; // the service is away, or its answer was lost: the key makes repeating safe
  }
}
