// What `npm start` tells the person at the terminal once everything runs; pure text. The curl lines are complete and in
// order, for a user id that is new in each run, so that pasting all of them shows the whole flow; start.test.ts pastes
// them.

import { formatCart, type SampleResult } from './sample.ts';
import type { ServicePlan, StackConfig } from './stack-config.ts';

/** The sample's result, and what its time is the time of. */
export function formatSample(userId: string, { before, ordered, after, afterOrderMs }: SampleResult): string {
  return [
    `The sample, for the new user ${userId}:`,
    `  cart before  ${formatCart(before)}`,
    `  order        ${formatCart(ordered)}`,
    `  cart after   ${formatCart(after)}`,
    `  The cart was right ${formatMs(afterOrderMs)} ms after the order's commit (measured from outside: from the answer of`,
    '  POST /orders to the first GET /carts that shows it; the first order after a start is the slowest).',
  ].join('\n');
}

/** Where everything is. `pidOf` is undefined for a service that does not run at this moment. */
export function formatAddresses(config: StackConfig, pidOf: (service: ServicePlan) => number | undefined): string {
  const lines = config.services.map((service) => {
    const docs = service.name === 'cdc-reader' ? '/metrics' : '/docs';
    return `  ${service.name.padEnd(12)}${(service.url + docs).padEnd(30)} process ${pidOf(service) ?? '-'}`;
  });
  return [
    'Running, on this machine only:',
    ...lines,
    ...Object.entries(config.connections).map(([name, value]) => `  ${name}=${withoutPassword(value)}`),
    '  Kill any service (kill -9 and its process number): it is started again, and the carts are right.',
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

/** How to run one more of a service by hand, in another terminal. */
export function formatByHand({ connections }: StackConfig): string {
  const exports = Object.entries(connections).map(([name, value]) => `${name}='${withoutPassword(value)}'`);
  return [
    'One service by hand, from another terminal (PORT=0 is any free port; its log says which):',
    `  export ${exports.join(' ')}`,
    '  PORT=0 npm run cdc-reader    # a second reader stands by and takes over when the first is killed',
    '  PORT=0 npm run cart-sink     # a second sink shares the partitions',
    '  PORT=0 npm run order-api',
  ].join('\n');
}

/** A connection string as it may be shown. */
export function withoutPassword(connection: string): string {
  return connection.replace(/^(postgres(?:ql)?:\/\/[^:@/]*):[^@/]*@/, '$1:********@');
}

function formatMs(ms: number): string {
  return ms < 10 ? ms.toFixed(1) : ms.toFixed(0);
}
