/**
 * The answer where nobody knows whether a request was carried out: the connection to the database broke under it.
 *
 * Guarantees that 503 means "nothing was stored", so that any client may ask again, and 504 means "perhaps", with what
 * this client should do. Leaves to routes: how repeating them is made safe (`config.repeating`).
 */
import { ProblemError } from '../problem.ts';
import { isOutcomeUnknown } from './lost-answer.ts';

/** What a client may do that does not know whether its request was carried out. */
type Repeating =
  /** The same request again leads to the same state. */
  | { readonly kind: 'safe' }
  /** The same request again is another one, unless it has the same Idempotency-Key. */
  | { readonly kind: 'by-key'; readonly readBack: string };

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of every route that writes. */
    repeating?: Repeating;
  }
}

/** HEAD and GET never write. */
export function isWriting(method: string): boolean {
  return !['GET', 'HEAD', 'OPTIONS'].includes(method);
}

interface Asked {
  readonly method: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly routeOptions: { readonly config?: { readonly repeating?: Repeating } };
}

/** The problem when `error` left the outcome of a writing request unknown; undefined otherwise. */
export function explainUnknownOutcome(error: unknown, request: Asked): ProblemError | undefined {
  // What breaks on the client's side has a status already.
  const isOfDatabase = error instanceof Error && !('statusCode' in error) && !(error instanceof ProblemError);
  if (!isOfDatabase || !isWriting(request.method) || !isOutcomeUnknown(error)) return undefined;
  const { repeating } = request.routeOptions.config ?? {};
  const hasKey = request.headers['idempotency-key'] !== undefined;
  const isSafe = repeating?.kind === 'safe' || (repeating?.kind === 'by-key' && hasKey);
  return new ProblemError({
    status: 504,
    title: 'Outcome unknown',
    detail: `The database broke off while the request was carried out: it may have been stored or not. ${advise(repeating, hasKey)}`,
    // Whoever repeats by itself is invited to only where that is safe.
    headers: isSafe ? { 'retry-after': '1' } : {},
  });
}

function advise(repeating: Repeating | undefined, hasKey: boolean): string {
  if (repeating === undefined) return 'Read back what is stored before repeating it.';
  if (repeating.kind === 'safe') return 'Repeat it: carried out twice, it has the effect of once.';
  return hasKey
    ? 'Repeat it with the same Idempotency-Key: it is carried out once at most.'
    : `Before repeating it, read back with ${repeating.readBack}; with an Idempotency-Key, repeating would be safe.`;
}
