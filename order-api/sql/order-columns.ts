// The columns of an order as every statement returns them, and their types: digits and microseconds stay text or bigint,
// so that nothing is rounded on its way out.
import { sql } from '@databases/pg';

/** A row of {@link orderColumns}. */
export interface OrderRow {
  readonly order_id: string;
  readonly user_id: string;
  readonly status: 'placed' | 'paid';
  readonly source: 'cart' | 'direct';
  readonly currency: string;
  readonly total_cents: bigint;
  readonly placed_at: string;
  readonly items: readonly {
    readonly lineNo: number;
    readonly sku: string;
    readonly quantity: number;
    readonly unitPriceCents: number;
    readonly cartLineId: string | null;
  }[];
}

/** RFC 3339 with all digits that Postgres keeps: a Date would cut them to milliseconds. */
export const placedAtText = sql`to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** Select list over `public.orders`: an order with its items. Prices fit a JSON number, totals need not. */
export const orderColumns = sql`
  orders.order_id, orders.user_id, orders.status, orders.source, orders.currency, orders.total_cents,
  ${placedAtText} AS placed_at,
  (
    SELECT json_agg(
      json_build_object(
        'lineNo', line_no, 'sku', sku, 'quantity', quantity, 'unitPriceCents', unit_price_cents,
        'cartLineId', cart_line_id
      ) ORDER BY line_no
    )
    FROM public.order_items
    WHERE order_items.order_id = orders.order_id
  ) AS items`;
