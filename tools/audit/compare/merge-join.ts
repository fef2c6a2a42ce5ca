// Joins two streams that are sorted by order id, holding one element of each: an audit's memory does not grow with the
// databases. Guarantees: every element comes out once, alone or with its partner; a stream that is not strictly
// increasing is an error, never a wrong answer. Ids compare as lower-case hex text, which is Postgres's order of uuids.

import { ToolRefusal } from '../../run-tool.ts';

export interface Keyed {
  readonly orderId: string;
}

export type Joined<L, R> =
  | { readonly left: L; readonly right: R }
  | { readonly left: L; readonly right: null }
  | { readonly left: null; readonly right: R };

/** Pairs the elements of both streams by id, in order. */
export async function* mergeByOrderId<L extends Keyed, R extends Keyed>(
  left: AsyncIterable<L>,
  right: AsyncIterable<R>,
): AsyncGenerator<Joined<L, R>, void, undefined> {
  const [lefts, rights] = [requireSorted(left), requireSorted(right)];
  try {
    let [l, r] = [await lefts.next(), await rights.next()];
    while (!l.done || !r.done) {
      if (r.done || (!l.done && l.value.orderId < r.value.orderId)) {
        yield { left: l.value as L, right: null };
        l = await lefts.next();
      } else if (l.done || r.value.orderId < l.value.orderId) {
        yield { left: null, right: r.value };
        r = await rights.next();
      } else {
        yield { left: l.value, right: r.value };
        [l, r] = [await lefts.next(), await rights.next()];
      }
    }
  } finally {
    await lefts.return();
    await rights.return();
  }
}

/** Gives each parent the children of its id; children of an id without a parent come with null. Both sorted by id. */
export async function* groupByOrderId<P extends Keyed, C extends Keyed>(
  parents: AsyncIterable<P>,
  children: AsyncIterable<C>,
): AsyncGenerator<{ readonly orderId: string; readonly parent: P | null; readonly children: C[] }, void, undefined> {
  for await (const { left, right } of mergeByOrderId(parents, gather(children))) {
    yield { orderId: (left ?? right!).orderId, parent: left, children: right?.children ?? [] };
  }
}

async function* gather<C extends Keyed>(children: AsyncIterable<C>): AsyncGenerator<Keyed & { children: C[] }> {
  let group: { orderId: string; children: C[] } | undefined;
  for await (const child of children) {
    if (group?.orderId === child.orderId) group.children.push(child);
    else {
      if (group !== undefined) yield group;
      group = { orderId: child.orderId, children: [child] };
    }
  }
  if (group !== undefined) yield group;
}

async function* requireSorted<T extends Keyed>(stream: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  let last = '';
  for await (const element of stream) {
    if (element.orderId === last) {
      throw new ToolRefusal(
        `there are two orders ${last}, which no audit can tell apart: the primary key of public.orders is missing. Delete the one that the ` +
          'ledger does not have, create the key again as in order-api/migrations/0001_orders.sql, and run the audit again.',
      );
    }
    if (element.orderId < last)
      throw new Error(`${element.orderId} came after ${last}: the stream is not sorted by id.`);
    last = element.orderId;
    yield element;
  }
}
