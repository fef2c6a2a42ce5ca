// The sample that `npm start` plays through the public APIs: a cart of three lines, an order for all of one and part of
// another, and the cart that is left. Guarantees that the time it reports is one that a client can see: from the moment
// the answer of POST /orders was here (the order is committed then) to the first answer of GET /carts/:userId that shows
// the smaller cart, asked again a millisecond after each. So it is never better than the truth by more than that answer's way back.

import { setTimeout as delay } from 'node:timers/promises';

type CartLine = { readonly lineId: string; readonly sku: string; readonly quantity: number };
export type SampleResult = {
  readonly before: readonly CartLine[];
  readonly ordered: readonly { readonly sku: string; readonly quantity: number }[];
  readonly after: readonly CartLine[];
  readonly afterOrderMs: number;
};

/** The cart did not become what the order leaves of it. */
class SampleError extends Error {
  readonly code = 'sample';
}

const goods = [
  { sku: 'tea', quantity: 2, unitPriceCents: 450 },
  { sku: 'mug', quantity: 4, unitPriceCents: 1_200 },
  { sku: 'spoon', quantity: 6, unitPriceCents: 300 },
] as const;
const mugsOrdered = 3;

/** Plays the sample for `userId`, who must be new. @throws SampleError when the cart is not right after `deadlineMs` */
export async function playSample(options: {
  orderApiUrl: string;
  cartSinkUrl: string;
  userId: string;
  deadlineMs: number;
  signal: AbortSignal;
}): Promise<SampleResult> {
  const { orderApiUrl, cartSinkUrl, userId, deadlineMs, signal } = options;
  const cartUrl = `${cartSinkUrl}/carts/${userId}`;
  const readCart = async () => (await request<{ lines: CartLine[] }>('GET', cartUrl, signal)).lines;

  for (const { sku, quantity } of goods) await request('POST', `${cartUrl}/lines`, signal, { sku, quantity });
  const before = await readCart();
  const [tea, mug] = goods;
  const items = [tea, { ...mug, quantity: mugsOrdered }].map((item) => ({
    ...item,
    cartLineId: before.find(({ sku }) => sku === item.sku)!.lineId,
  }));
  await request('POST', `${orderApiUrl}/orders`, signal, { userId, items });
  const orderedMs = performance.now();

  const expected = formatCart(
    before.flatMap((line) => {
      const quantity = line.quantity - (items.find(({ cartLineId }) => cartLineId === line.lineId)?.quantity ?? 0);
      return quantity === 0 ? [] : [{ ...line, quantity }];
    }),
  );
  for (;;) {
    const after = await readCart();
    const afterOrderMs = performance.now() - orderedMs;
    if (formatCart(after) === expected) return { before, ordered: items, after, afterOrderMs };
    // One transaction takes the whole order out of the cart: anything in between must never be seen.
    if (formatCart(after) !== formatCart(before)) {
      throw new SampleError(`The cart should have become "${expected}", and is "${formatCart(after)}".`);
    }
    if (afterOrderMs > deadlineMs) {
      throw new SampleError(`The order is still not taken out of the cart ${deadlineMs} ms after it was placed.`);
    }
    await delay(1);
  }
}

/** A cart on one line, for people. */
export function formatCart(lines: readonly { readonly sku: string; readonly quantity: number }[]): string {
  return lines.map(({ sku, quantity }) => `${quantity} ${sku}`).join(', ') || 'empty';
}

async function request<T>(method: string, url: string, signal: AbortSignal, body?: unknown): Promise<T> {
  const response = await fetch(url, {
    method,
    signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]),
    ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new SampleError(`${method} ${url} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as T;
}
