// The HTTP interfaces broken on purpose: what clients can no longer read, what is carried out twice, what stays for ever.
// What a mutant is, and that each fits its code, is in mutants.ts.

import type { Mutant } from './mutants.ts';

const connections = ['test/unit/service/http/broken-requests.test.ts'];

export const httpMutants: readonly Mutant[] = [
  {
    name: 'close-without-draining',
    breaks: 'A client that still sends reads EPIPE instead of the refusal',
    file: 'service/http/close-connection.ts',
    find: '    socket.destroySoon = () => closeAfterDraining(socket);\n',
    replace: '    void closeAfterDraining;\n',
    tests: ['test/unit/service/http/close-connection.test.ts'],
  },
  {
    name: 'broken-request-overtakes',
    breaks: 'The 400 of a broken request takes the place of the answers to those before it',
    file: 'service/http/broken-requests.ts',
    find: 'answer?.req.complete === true',
    replace: 'answer === null',
    tests: connections,
  },
  {
    name: 'unread-answers-kept',
    breaks: 'An answer that nobody reads stays in memory for ever',
    file: 'service/http/request-checks.ts',
    find: '      raw.destroy();\n',
    replace: '',
    tests: connections,
  },
  {
    name: 'refused-callers-uncounted',
    breaks: 'Whoever has no token may ask without end',
    file: 'service/auth/ownership.ts',
    find: '    } finally {\n      await limitRate(request);\n    }\n',
    replace: '    } finally {\n      if (request.caller !== undefined) await limitRate(request);\n    }\n',
    tests: ['test/unit/service/http/rate-limit.test.ts'],
  },
  {
    name: 'subjects-counted-by-address',
    breaks: 'Shoppers behind one address take the requests of each other',
    file: 'service/http/rate-limit.ts',
    find: "caller?.kind === 'subject'",
    replace: "caller?.kind === 'subject' && ip === ''",
    tests: ['test/unit/service/http/rate-limit.test.ts'],
  },
  {
    name: 'answers-without-headers',
    breaks: 'A browser takes an answer for a page',
    file: 'service/http/app.ts',
    find: '  await app.register(helmet, { contentSecurityPolicy: NO_CONTENT, strictTransportSecurity: false });\n',
    replace: '',
    tests: ['test/unit/service/http/rate-limit.test.ts'],
  },
  {
    name: 'ready-while-stopping',
    breaks: 'A load balancer sends requests to a process that is about to refuse them',
    file: 'service/http-server.ts',
    find: '(isStopping ? STOPPING : readiness())',
    replace: 'readiness()',
    tests: ['test/unit/service/http-server.test.ts'],
  },
  {
    name: 'stop-without-delay',
    breaks: 'Requests are refused before a load balancer has seen that the process is not ready',
    file: 'service/http-server.ts',
    find: '      if (shutdownDelayMs > 0) await delay(shutdownDelayMs);\n',
    replace: '      void shutdownDelayMs;\n      void delay;\n',
    tests: ['test/unit/service/http-server.test.ts'],
  },
  {
    name: 'unknown-outcome-as-unavailable',
    breaks: '503 invites to repeat what may have been stored',
    file: 'service/http/outcome.ts',
    find: ' || !isOutcomeUnknown(error)',
    replace: ' || isOutcomeUnknown(error)',
    tests: ['test/unit/service/http-server.test.ts'],
  },
  {
    name: 'cart-counted-without-lock',
    breaks: 'Requests that come at once exceed the lines of a cart',
    file: 'cart-sink/migrations/0008_pinned_function.sql',
    find: `  PERFORM pg_catalog.pg_advisory_xact_lock(
    pg_catalog.hashtextextended('tillstream.cart:' OPERATOR(pg_catalog.||) of_user, 0)
  );
`,
    replace: '',
    tests: ['test/integration/cart-sink/cart-keys.test.ts'],
    testName: 'waits for a line that is being added',
  },
];
