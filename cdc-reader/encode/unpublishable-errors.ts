// Why a database transaction can't be published: each is a halt, after the whole transactions before it are published.
// Each carries a literal code, its position, and the remedy. No message holds a value of a row.
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import { HaltError } from '#service/halt.ts';

/** The remedy for a gap that only the stream shows, so that the tool finds nothing by itself. */
const ADOPT_BY_FORCE =
  'Correct the rows, or delete the order, in a session with `SET session_replication_role = replica`. Then let the reader ' +
  'continue behind it: run `npm run adopt -- reader --force`, start the reader again, and run the replay command that adopt ' +
  'prints: it applies the corrected order, and the others of the transaction.';

/** A transaction that can't be published. The whole transactions before it are, and then the reader halts. */
export abstract class UnpublishableError extends HaltError {}

export class RowNotPublishableError extends UnpublishableError {
  readonly code = 'ROW_NOT_PUBLISHABLE';
  /** `subject`: the column, or the order with its position. */
  constructor(subject: string, problem: string, options?: ErrorOptions) {
    super(
      `${subject} ${problem}. A CHECK constraint is missing: create it again as in order-api/migrations/0001_orders.sql, and correct the program that wrote the row. ${ADOPT_BY_FORCE}`,
      { column: subject },
      options,
    );
  }
}

export class OrderWithoutItemsError extends UnpublishableError {
  readonly code = 'ORDER_WITHOUT_ITEMS';
  constructor(commitLsn: Lsn, ordinal: number) {
    super(
      `The transaction at ${formatLsn(commitLsn)} inserted an order (ordinal ${ordinal}) without items. The trigger that prevents this, orders_have_items, is missing or disabled: create or enable it again as in order-api/migrations/0002_order_rules.sql. ${ADOPT_BY_FORCE}`,
      { commitLsn: formatLsn(commitLsn), ordinal: String(ordinal) },
    );
  }
}

export class ItemWithoutOrderError extends UnpublishableError {
  readonly code = 'ITEM_WITHOUT_ORDER';
  constructor(commitLsn: Lsn) {
    super(
      `The transaction at ${formatLsn(commitLsn)} inserted an order item whose order it had not inserted before. The trigger that prevents this, order_items_come_with_their_order, is missing or disabled: create or enable it again as in order-api/migrations/0002_order_rules.sql. ${ADOPT_BY_FORCE}`,
      { commitLsn: formatLsn(commitLsn) },
    );
  }
}

export class EventTooLargeError extends UnpublishableError {
  readonly code = 'EVENT_TOO_LARGE';
  constructor(cause: Error, throughLsn: Lsn) {
    super(
      `An event after ${formatLsn(throughLsn)} is larger than Kafka accepts. ${cause.message}`,
      { throughLsn: formatLsn(throughLsn) },
      { cause },
    );
  }
}
