// Controls of the database roles: one that may more than its program needs, or keeps what it was granted by hand (class L).
import type { Mutant } from './mutants.ts';

const tests = ['test/integration/roles/least-privilege.test.ts'];
const file = 'ops/postgres/roles.sql';

export const roleMutants: readonly Mutant[] = [
  {
    name: 'order-api-changes-orders',
    breaks: 'order-api may change an order that it has accepted',
    file,
    find: "('orders', 'order_api', 'SELECT, INSERT, UPDATE (status)')",
    replace: "('orders', 'order_api', 'SELECT, INSERT, UPDATE')",
    tests,
    testName: 'change anything but the status',
  },
  {
    name: 'reader-places-orders',
    breaks: 'The role of the stream may write',
    file,
    find: "('orders', 'reader', 'SELECT')",
    replace: "('orders', 'reader', 'SELECT, INSERT')",
    tests,
    testName: 'place an order',
  },
  {
    name: 'auditor-changes-carts',
    breaks: 'Who proves may change what is proved',
    file,
    find: "('cart_lines', 'auditor', 'SELECT')",
    replace: "('cart_lines', 'auditor', 'SELECT, DELETE')",
    tests,
    testName: 'change a cart',
  },
  {
    name: 'granted-privileges-kept',
    breaks: 'What was granted by hand stays when roles.sql is run again',
    file,
    find: "    EXECUTE format('REVOKE ALL ON public.%I FROM %I', granted.relname, granted.role);\n",
    replace: '',
    tests,
    testName: 'that was granted more on a table',
  },
];
