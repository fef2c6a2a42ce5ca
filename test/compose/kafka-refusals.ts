// Who is refused by the Kafka of compose.yaml, and by what name: everything but the users of the services, over TLS, by SCRAM, with
// their own grants.
import { join } from 'node:path';
import { createAuthority } from '../support/security/authority.ts';
import type { Deployment } from './deployment.ts';

/** Of someone else: it has not signed the certificates of the servers. */
export const strangersAuthority = ({ directory }: Deployment) => createAuthority(directory, 'stranger').ca;

const loginOf = (deployment: Deployment, service: string): Record<string, string> => ({
  ...deployment.variablesOf(service),
  KAFKA_SSL_CA_LOCATION: join(deployment.directory, 'certificates', 'authority', 'ca.crt'),
});
const sink = (deployment: Deployment) => loginOf(deployment, 'cart-sink');

/** How somebody comes, his variables, and the failure by name when he writes an order. */
export const refusedLogins: readonly [string, (deployment: Deployment) => Record<string, string>, string][] = [
  ['without TLS', (to) => ({ KAFKA_BROKERS: sink(to).KAFKA_BROKERS! }), 'KAFKA_AWAY'],
  ['with another password', (to) => ({ ...sink(to), KAFKA_SASL_PASSWORD: 'x' }), 'KAFKA_AUTHENTICATION'],
  ['by PLAIN', (to) => ({ ...sink(to), KAFKA_SASL_MECHANISM: 'PLAIN' }), 'KAFKA_MECHANISM'],
  [
    'as the administrator where the services log in',
    (to) => ({
      ...sink(to),
      KAFKA_SASL_USERNAME: 'admin',
      KAFKA_SASL_PASSWORD: to.variablesOf('kafka-access').KAFKA_ADMIN_PASSWORD!,
    }),
    'KAFKA_AUTHENTICATION',
  ],
  [
    'that it takes for another',
    (to) => ({ ...sink(to), KAFKA_SSL_CA_LOCATION: strangersAuthority(to) }),
    'TLS_UNKNOWN_CA',
  ],
  ['to write orders as the sink', sink, 'KAFKA_AUTHORIZATION'],
  ['to write orders as the tools', (to) => loginOf(to, 'tools'), 'KAFKA_AUTHORIZATION'],
];
