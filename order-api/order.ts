/**
 * An order as this service knows it, and the two decisions about it that need no database.
 *
 * Totals are bigint cents: the largest order that the API accepts comes to 5·10^15, and other writers' totals may use
 * all 63 bits.
 */
export interface OrderItem {
  readonly sku: string;
  readonly quantity: number;
  readonly unitPriceCents: number;
  /** The cart line that the item came from, in lower case. */
  readonly cartLineId?: string | undefined;
}

export interface NewOrder {
  readonly userId: string;
  readonly source: 'cart' | 'direct';
  /** ISO 4217, as `USD`. */
  readonly currency: string;
  readonly items: readonly OrderItem[];
}

export interface Order {
  readonly orderId: string;
  readonly userId: string;
  readonly status: 'placed' | 'paid';
  readonly source: 'cart' | 'direct';
  readonly currency: string;
  readonly totalCents: bigint;
  /** RFC 3339 in UTC, with microseconds. */
  readonly placedAt: string;
  /** By line number; other writers may leave gaps between the numbers. */
  readonly items: readonly (OrderItem & { readonly lineNo: number })[];
}

export function sumCents(items: readonly OrderItem[]): bigint {
  return items.reduce((total, item) => total + BigInt(item.quantity) * BigInt(item.unitPriceCents), 0n);
}

/**
 * Whether `stored` is what placing `requested` would have stored. Every field of a request is stored and never changes,
 * so the stored order itself is the fingerprint that an idempotency key is checked against.
 */
export function isOrderOf(stored: Order, requested: NewOrder): boolean {
  return (
    stored.userId === requested.userId &&
    stored.source === requested.source &&
    stored.currency === requested.currency &&
    stored.items.length === requested.items.length &&
    requested.items.every((item, index) => {
      const kept = stored.items[index]!;
      return (
        kept.sku === item.sku &&
        kept.quantity === item.quantity &&
        kept.unitPriceCents === item.unitPriceCents &&
        kept.cartLineId === item.cartLineId
      );
    })
  );
}
