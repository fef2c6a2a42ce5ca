// What `npm start` tells the person at the terminal once everything runs; pure text. The curl lines are complete and in
// order, for a user id that is new in each run, so that pasting all of them shows the whole flow; start.test.ts pastes
// them.

import { formatCart, type SampleResult } from './sample.ts';
import { type ServiceName, type ServicePlan, serviceDatabase, toolConnections } from './service-environment.ts';
import type { StackConfig } from './stack-config.ts';

/** The sample's result, and what its times are the times of; `againMs` is that of the same once more. */
export function formatSample(userId: string, result: SampleResult, againMs: number): string {
  const { before, ordered, after, afterOrderMs } = result;
  return [
    `The sample, for the new user ${userId}:`,
    `  cart before  ${formatCart(before)}`,
    `  order        ${formatCart(ordered)}`,
    `  cart after   ${formatCart(after)}`,
    `  The cart was right ${formatMs(afterOrderMs)} ms after the order's commit; the same once more, all being warm: ${formatMs(againMs)} ms`,
    '  (seen from outside: from the answer of POST /orders to the first GET /carts that shows it).',
  ].join('\n');
}

/** What runs: a service at its URL, or a server of our own. */
export type Running = { readonly what: string; readonly url?: string; readonly pid: number | undefined };

/** Where everything is, by process and by the variables that lead to it. */
export function formatAddresses(running: readonly Running[], connections: StackConfig['connections']): string {
  return [
    'Running, on this machine only:',
    ...running.map(({ what, url = '', pid }) => `  ${what.padEnd(21)}${url.padEnd(30)} process ${pid ?? '-'}`),
    ...Object.entries(connections).map(([name, value]) => `  ${name}=${withoutPassword(value)}`),
    '  Kill any of them (kill -9 and its process number): it is started again, and the carts are right.',
  ].join('\n');
}

/** The whole flow as curl lines: add to the cart, order several lines, pay, look. */
export function formatCurlLines(services: readonly ServicePlan[], userId: string): string {
  const url = (name: string) => services.find((service) => service.name === name)!.url;
  const [orders, carts] = [`${url('order-api')}/orders`, `${url('cart-sink')}/carts/${userId}`];
  const post = (to: string, body: object) =>
    `curl -sS ${to} -H 'content-type: application/json' -d '${JSON.stringify(body)}'`;
  const items = [
    { sku: 'tea', quantity: 2, unitPriceCents: 450 },
    { sku: 'mug', quantity: 3, unitPriceCents: 1200 },
  ];
  return [
    'The same by hand; paste these lines:',
    `  ${post(`${carts}/lines`, { sku: 'tea', quantity: 2 })}; echo`,
    `  ${post(`${carts}/lines`, { sku: 'mug', quantity: 4 })}; echo`,
    `  curl -sS ${carts}; echo`,
    `  order=$(${post(orders, { userId, items })} -H 'idempotency-key: ${userId}'); echo "$order"`,
    `  curl -sS -X POST ${orders}/$(echo "$order" | grep -o '"orderId":"[^"]*' | cut -d '"' -f 4)/payment; echo`,
    `  curl -sS ${carts}; echo`,
    `  curl -sS ${url('order-api')}/users/${userId}/orders; echo`,
  ].join('\n');
}

/** The warning about databases that are given, if any is. */
export function formatGiven({ given }: Pick<StackConfig, 'given'>): string[] {
  const names = [
    ...(given.orderDatabase === undefined ? [] : ['ORDER_DATABASE_URL']),
    ...(given.cartDatabase === undefined ? [] : ['CART_DATABASE_URL']),
  ];
  if (names.length === 0) return [];
  return [
    `Warning: with ${names.join(' and ')} given, every service there works as the role of that URL, which must own the tables. ` +
      'For a role each: docs/operations.md, "Roles of the databases".',
  ];
}

/** How to run one more of a service by hand, in another terminal. */
export function formatByHand(config: StackConfig): string {
  const set = (variables: Readonly<Record<string, string>>) =>
    Object.entries(variables)
      .map(([name, value]) => `${name}='${withoutPassword(value)}'`)
      .join(' ');
  const service = (name: ServiceName) =>
    ['  PORT=0', set(serviceDatabase(name, config)), `npm run ${name}`].filter((part) => part !== '').join(' ');
  return [
    'One service by hand, from another terminal (PORT=0 is any free port; its log says which):',
    `  export ${set({ ...toolConnections(config), ...config.passedOn })}`,
    `${service('cdc-reader')}    # a second reader stands by and takes over when the first is killed`,
    `${service('cart-sink')}    # a second sink shares the partitions`,
    service('order-api'),
    '  npm run audit                                      # do the two databases agree?',
    '  npm run replay -- --from-lsn 0/1 --dry-run         # what a replay of everything would change: nothing',
  ].join('\n');
}

/** A connection string as it may be shown. */
export function withoutPassword(connection: string): string {
  return connection
    .replace(/^(postgres(?:ql)?:\/\/[^:@/]*):[^/?#]*@/, '$1:********@')
    .replace(/([?&]password=)[^&]*/, '$1********');
}

function formatMs(ms: number): string {
  return ms < 10 ? ms.toFixed(1) : ms.toFixed(0);
}
