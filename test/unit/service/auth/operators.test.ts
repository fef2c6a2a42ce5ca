import { expect, it } from 'vitest';
import type { Access, Caller } from '#service/auth/access.ts';
import { requireOperator } from '#service/auth/operators.ts';

const as = (...scopes: string[]): Access => {
  const caller: Caller = { kind: 'subject', subject: 'ann', scopes: new Set(scopes) };
  return { identify: async () => caller };
};
const none = { access: undefined, isOpen: false };
const statusOf = async (port: Parameters<typeof requireOperator>[0]) => {
  try {
    await requireOperator(port)({ headers: {} });
    return 200;
  } catch (error) {
    return (error as { problem: { status: number } }).problem.status;
  }
};

it.each([
  [200, { ...none, host: '127.0.0.1' }],
  [200, { ...none, host: '::1' }],
  [403, { ...none, host: '0.0.0.0' }],
  [200, { ...none, host: '0.0.0.0', isOpen: true }],
  [200, { ...none, host: '0.0.0.0', access: as('orders:pay', 'operator') }],
  [403, { ...none, host: '0.0.0.0', access: as('orders:pay') }],
])('an operator’s route answers %i on the port %j', async (status, port) => {
  expect(await statusOf(port)).toBe(status);
});
