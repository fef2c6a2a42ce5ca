/**
 * The environment variables of a Postgres server: its URL and the files of its TLS.
 *
 * Guarantees: the same names for both databases, and one {@link DatabaseServer} made of them; what is wrong with a URL or a
 * file at the start is a problem of the configuration, under its variable's name.
 */
import { ConfigurationError, optional, secret, text, type Variable } from '../environment.ts';
import type { Logger } from '../logger.ts';
import type { Secret } from '../security/secret.ts';
import { type TlsFile, TlsFileError } from '../security/tls-files.ts';
import { createDatabaseServer, type DatabaseServer, findTlsWarning } from './database-server.ts';
import { parseDatabaseUrl } from './database-url.ts';

/** A URL that every connection understands alike. */
export function postgresUrl(name: string, description: string): Variable<Secret> {
  return secret(name, description, parseDatabaseUrl);
}

type Prefix = 'ORDER_DATABASE' | 'CART_DATABASE';

function tlsVariables(prefix: Prefix) {
  const file = (name: string, description: string) => optional(text(`${prefix}_SSL_${name}_LOCATION`, description));
  return {
    ca: file('CA', 'File of the authorities that sign the server’s certificate, in PEM format'),
    certificate: file('CERTIFICATE', 'File of the client’s certificate for this server'),
    key: file('KEY', 'File of the key of that certificate'),
  };
}

const order = tlsVariables('ORDER_DATABASE');
const cart = tlsVariables('CART_DATABASE');

export const orderTlsVariables = {
  orderDatabaseSslCa: order.ca,
  orderDatabaseSslCertificate: order.certificate,
  orderDatabaseSslKey: order.key,
};
export const cartTlsVariables = {
  cartDatabaseSslCa: cart.ca,
  cartDatabaseSslCertificate: cart.certificate,
  cartDatabaseSslKey: cart.key,
};

export const orderDatabaseVariables = {
  orderDatabaseUrl: postgresUrl('ORDER_DATABASE_URL', 'The orders database'),
  ...orderTlsVariables,
};
export const cartDatabaseVariables = {
  cartDatabaseUrl: postgresUrl('CART_DATABASE_URL', 'The carts database'),
  ...cartTlsVariables,
};

type Values<K extends string> = Readonly<Partial<Record<K, string | undefined>>>;
export type OrderDatabaseValues = { readonly orderDatabaseUrl: Secret } & Values<keyof typeof orderTlsVariables>;
export type CartDatabaseValues = { readonly cartDatabaseUrl: Secret } & Values<keyof typeof cartTlsVariables>;

/** @throws ConfigurationError */
export function orderDatabaseOf(values: OrderDatabaseValues): DatabaseServer {
  const { orderDatabaseSslCa: ca, orderDatabaseSslCertificate: certificate, orderDatabaseSslKey: key } = values;
  return createServer('ORDER_DATABASE', values.orderDatabaseUrl, { ca, certificate, key });
}

/** @throws ConfigurationError */
export function cartDatabaseOf(values: CartDatabaseValues): DatabaseServer {
  const { cartDatabaseSslCa: ca, cartDatabaseSslCertificate: certificate, cartDatabaseSslKey: key } = values;
  return createServer('CART_DATABASE', values.cartDatabaseUrl, { ca, certificate, key });
}

type Optional<V> = { readonly [K in keyof V]?: V[K] | undefined };

/** The servers whose URL is set. @throws ConfigurationError */
export function givenDatabasesOf(values: Optional<OrderDatabaseValues> & Optional<CartDatabaseValues>) {
  const { orderDatabaseUrl, cartDatabaseUrl } = values;
  return {
    orderDatabase: orderDatabaseUrl && orderDatabaseOf({ ...values, orderDatabaseUrl }),
    cartDatabase: cartDatabaseUrl && cartDatabaseOf({ ...values, cartDatabaseUrl }),
  };
}

type Paths = Readonly<Record<'ca' | 'certificate' | 'key', string | undefined>>;

function createServer(prefix: Prefix, url: Secret, paths: Paths): DatabaseServer {
  const file = (what: keyof Paths): TlsFile | undefined => {
    const path = paths[what];
    return path === undefined ? undefined : { name: `${prefix}_SSL_${what.toUpperCase()}_LOCATION`, path };
  };
  try {
    return createDatabaseServer(url, { ca: file('ca'), certificate: file('certificate'), key: file('key') });
  } catch (error) {
    const { message } = error as Error;
    throw new ConfigurationError([error instanceof TlsFileError ? message : `${url.name}: ${message}`]);
  }
}

/** Logged at the start, once, for a server elsewhere whose URL does not decide about TLS. */
const TLS_UNDECIDED = 'database.tls-undecided';

export function warnOfUndecidedTls(url: Secret, logger: Logger): void {
  const warning = findTlsWarning(url);
  if (warning !== undefined) logger.warn({ event: TLS_UNDECIDED }, warning);
}
