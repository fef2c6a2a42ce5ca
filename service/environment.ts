/**
 * Configuration from environment variables: described, typed, validated all at once, frozen.
 *
 * Guarantees: `readEnvironment` reports every problem in one error, and never repeats a value (a URL holds a password,
 * and people paste secrets into the wrong variable). An empty variable counts as unset, as compose files write them.
 * Leaves to each service's config.ts: which variables there are, and what depends on several of them.
 */
import { isIPv6 } from 'node:net';
import { findSecret, type Secret, SecretFileError } from './security/secret.ts';

export interface Variable<T> {
  readonly name: string;
  readonly description: string;
  /** The text that an unset variable stands for. Without it the variable is required, unless it is `optional`. */
  readonly fallback?: string;
  readonly optional?: true;
  /** Its text may also stand in a file, which `NAME_FILE` names. */
  readonly isSecret?: true;
  /** Throws an Error whose message is `expected …`. A secret is read again at later times from `secret`. */
  readonly parse: (text: string, secret: Secret) => T;
}

/** The configuration is invalid. Ends a service with exit code 78. */
export class ConfigurationError extends Error {
  readonly code = 'BAD_CONFIGURATION';
  override readonly name = 'ConfigurationError';
  /** One sentence each, beginning with the variable's name. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`bad configuration: ${problems.join('; ')}`);
    this.problems = problems;
  }
}

function define<T>(
  name: string,
  description: string,
  fallback: string | undefined,
  parse: (text: string) => T,
): Variable<T> {
  return { name, description, ...(fallback === undefined ? {} : { fallback }), parse };
}

function refuseUnless(fits: boolean, expected: string): void {
  if (!fits) throw new Error(`expected ${expected}`);
}

export function text(name: string, description: string, fallback?: string): Variable<string> {
  return define(name, description, fallback, (value) => value);
}

/** Text that matches `form`; `expected` describes the form. */
export function matching(
  name: string,
  description: string,
  options: { form: RegExp; expected: string; fallback?: string },
): Variable<string> {
  return define(name, description, options.fallback, (value) => {
    refuseUnless(options.form.test(value), options.expected);
    return value;
  });
}

/** A whole number from `min` to `max`, both included. */
export function integer(
  name: string,
  description: string,
  options: { min: number; max: number; fallback?: string },
): Variable<number> {
  const { min, max } = options;
  return define(name, description, options.fallback, (value) => {
    const number = /^-?\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    refuseUnless(number >= min && number <= max, `a whole number from ${min} to ${max}`);
    return number;
  });
}

/** A TCP port to listen on; with 0 the system chooses one. */
export function port(name: string, description: string, fallback?: string): Variable<number> {
  return integer(name, description, { min: 0, max: 65_535, ...(fallback === undefined ? {} : { fallback }) });
}

/** Text that is never shown, also read from the file that `NAME_FILE` names. `check` throws what is wrong with it. */
export function secret(
  name: string,
  description: string,
  check: (text: string) => void = () => undefined,
): Variable<Secret> {
  return {
    name,
    description,
    isSecret: true,
    parse: (value, source) => {
      check(value);
      return source;
    },
  };
}

/** Comma-separated, at least one entry; spaces around entries are ignored. */
export function list(name: string, description: string, fallback?: string): Variable<readonly string[]> {
  return define(name, description, fallback, (value) => {
    const entries = value.split(',').map((entry) => entry.trim());
    refuseUnless(
      entries.every((entry) => entry !== ''),
      'a comma-separated list without empty entries',
    );
    return Object.freeze(entries);
  });
}

export function choice<const C extends string>(
  name: string,
  description: string,
  choices: readonly C[],
  fallback?: NoInfer<C>,
): Variable<C> {
  return define(name, description, fallback, (value) => {
    const chosen = choices.find((one) => one === value);
    refuseUnless(chosen !== undefined, `one of ${choices.join(', ')}`);
    return chosen as C;
  });
}

/** `on` or `off`. */
export function onOff(name: string, description: string, fallback?: 'on' | 'off'): Variable<boolean> {
  return define(name, description, fallback, (value) => {
    refuseUnless(value === 'on' || value === 'off', 'on or off');
    return value === 'on';
  });
}

export function logLevel(
  name: string,
  description: string,
  fallback: string,
): Variable<'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'> {
  const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
  return { ...choice(name, description, levels), fallback };
}

/** `brokers`: host:port pairs; an IPv6 address stands in brackets. */
export function brokers(name: string, description: string, fallback?: string): Variable<readonly string[]> {
  const entries = list(name, description, fallback);
  return {
    ...entries,
    parse: (value, source) => {
      refuseUnless(!value.includes('://'), 'comma-separated host:port pairs, without a protocol before them');
      const parsed = entries.parse(value, source);
      refuseUnless(parsed.every(isBroker), 'comma-separated host:port pairs, an IPv6 address in brackets: [::1]:9092');
      return parsed;
    },
  };
}

function isBroker(entry: string): boolean {
  const [, host, address, port] = /^(?:([\p{L}\p{N}._-]+)|\[(.+)\]):(\d{1,5})$/u.exec(entry) ?? [];
  return (host !== undefined || isIPv6(address ?? '')) && Number(port) >= 1 && Number(port) <= 65_535;
}

/** A name that Kafka accepts for a topic. */
export function topic(name: string, description: string, fallback?: string): Variable<string> {
  return matching(name, description, {
    form: /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$/,
    expected: 'a topic name: 1 to 249 characters of A-Z a-z 0-9 . _ -',
    ...(fallback === undefined ? {} : { fallback }),
  });
}

/** The same variable, undefined where it is unset. */
export function optional<T>(variable: Variable<T>): Variable<T | undefined> {
  const { fallback: _, ...rest } = variable;
  return { ...rest, optional: true };
}

type Variables = Record<string, Variable<unknown>>;
export type Environment<S extends Variables> = Readonly<{
  [K in keyof S]: S[K] extends Variable<infer T> ? T : never;
}>;

/**
 * The values of `variables`, read from `env`, frozen.
 * @throws ConfigurationError listing all problems
 */
export function readEnvironment<S extends Variables>(
  variables: S,
  env: Readonly<Record<string, string | undefined>>,
): Environment<S> {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [key, variable] of Object.entries(variables)) {
    const source = findSecret(variable, env);
    if (source === undefined) {
      if (variable.optional !== true) problems.push(`${variable.name} is required: ${variable.description}`);
      continue;
    }
    try {
      values[key] = variable.parse(source.read(), source);
    } catch (error) {
      const problem = error instanceof SecretFileError ? error.problem : (error as Error).message;
      problems.push(`${source.name}: ${problem}`);
    }
  }
  if (problems.length > 0) throw new ConfigurationError(problems);
  return Object.freeze(values) as Environment<S>;
}

/** The variables of every service. */
export const commonVariables = {
  host: text('HOST', 'Address to listen on', '127.0.0.1'),
  allowedHosts: optional(
    list(
      'ALLOWED_HOSTS',
      'Names in Host that a listener on loopback accepts beside its own, for a proxy in front of it',
    ),
  ),
  commit: text('TILLSTREAM_COMMIT', 'The commit of this build, for metrics and --version', 'unknown'),
  logLevel: logLevel('LOG_LEVEL', 'Least severe level that is logged', 'info'),
  shutdownDelayMs: integer(
    'SHUTDOWN_DELAY_MS',
    'Milliseconds that HTTP goes on after SIGTERM, not ready, so that load balancers can turn to others',
    { min: 0, max: 600_000, fallback: '0' },
  ),
  migrate: onOff('MIGRATE', "Whether the service applies its database's migrations when it starts", 'on'),
};

/** The variables that the reader and the sink must agree on. */
export const topicVariables = {
  ordersTopic: topic('ORDERS_TOPIC', 'The live topic', 'orders.placed'),
  replayTopic: topic('REPLAY_TOPIC', 'The topic that replays are published to', 'orders.placed.replay'),
  maxExpandedBatchBytes: integer(
    'MAX_EXPANDED_BATCH_BYTES',
    'Bytes of memory that one record batch may take once it is expanded; a larger one halts its partition',
    // A batch of ours has 900,000 bytes, and may be four thousand records at 512 bytes for each as an object.
    { min: 8 * 1024 * 1024, max: 1024 * 1024 * 1024, fallback: String(64 * 1024 * 1024) },
  ),
};
