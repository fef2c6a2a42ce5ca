/**
 * Which parts of the service a process runs: the cart API, the consumer, or both (`--only api`, `--only consumer`).
 *
 * Apart they scale and fail apart: a flood of requests takes no memory from the consumer, and a consumer that restarts closes
 * no shopper's connection. Both serve one database, and a carts deployment needs at least one of each.
 */
import { ConfigurationError } from '#service/environment.ts';

export interface Parts {
  readonly api: boolean;
  readonly consumer: boolean;
}

/** @throws ConfigurationError */
export function readParts(args: readonly string[]): Parts {
  const values = args.flatMap((arg, index) => {
    if (arg === '--only') return [args[index + 1]];
    return arg.startsWith('--only=') ? [arg.slice('--only='.length)] : [];
  });
  if (values.length === 0) return { api: true, consumer: true };
  const [only] = values;
  if (values.length > 1 || (only !== 'api' && only !== 'consumer')) {
    throw new ConfigurationError(['--only: expected api or consumer, once; without it both run']);
  }
  return { api: only === 'api', consumer: only === 'consumer' };
}
