/**
 * Problem documents (RFC 9457): the form of every error response.
 *
 * Pure: from a thrown error to a document. Guarantees that nothing internal leaves the process: an error that is
 * neither meant for the client nor the framework's own becomes a bare 500. Leaves sending and logging to http-server.ts.
 */
import { STATUS_CODES } from 'node:http';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { isDatabaseAway, isTransactionConflict } from './failure.ts';

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

/** A failover takes seconds, a restart less; one retry a second by each client is no load. */
const RETRY_AFTER_SECONDS = '1';

const LONGEST_DETAIL = 200;

/** Bounds the response: a small request can be invalid in very many places. */
const MOST_ERRORS = 20;

interface FieldError {
  /** Dotted path that begins with body, params, query or headers, like `body.items.0.quantity`. */
  readonly field: string;
  readonly message: string;
}

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
  readonly errors?: readonly FieldError[];
}

/** The document's shape, for the OpenAPI description. */
const problemSchema = z
  .object({
    type: z.string().describe('Identifies the kind of problem; about:blank where the status is enough'),
    title: z.string(),
    status: z.int(),
    detail: z.string().optional(),
    errors: z
      .array(z.object({ field: z.string().describe('Dotted path, like body.items.0.quantity'), message: z.string() }))
      .optional(),
  })
  .meta({ id: 'Problem', description: 'A problem document (RFC 9457)' });

/** An entry of a route's `schema.response` for a problem: `response: { 404: problemResponse('No such order') }`. */
export function problemResponse(description: string) {
  return { description, content: { [PROBLEM_MEDIA_TYPE]: { schema: problemSchema } } };
}

export interface ProblemOptions {
  readonly status: number;
  readonly title: string;
  readonly detail?: string;
  readonly type?: string;
  readonly errors?: readonly FieldError[];
  readonly headers?: Record<string, string>;
}

/** Thrown by a route to respond with exactly this problem. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly problem: Problem;
  readonly headers: Readonly<Record<string, string>>;

  constructor(options: ProblemOptions) {
    super(options.detail ?? options.title);
    const { status, title, detail, type = 'about:blank', errors, headers = {} } = options;
    this.problem = { type, title, status, ...(detail && { detail }), ...(errors && { errors }) };
    this.headers = headers;
  }
}

/** The response to a request that failed with `error`; undefined for a bug, which is logged and hidden. */
export function explainError(error: unknown): ProblemError | undefined {
  if (error instanceof ProblemError) return error;
  if (hasZodFastifySchemaValidationErrors(error)) return explainValidation(error);
  // First, because a client that disconnects is an ECONNRESET too.
  const refused = explainFrameworkError(error);
  if (refused !== undefined) return refused;
  if (isDatabaseAway(error)) {
    return createUnavailable(
      'Database not available',
      'The database could not be reached or was busy for too long. Nothing was stored: retry.',
    );
  }
  if (isTransactionConflict(error)) {
    return createUnavailable(
      'Database busy',
      'The transaction conflicted with another one and was rolled back. Nothing was stored: retry.',
    );
  }
  return undefined;
}

function createUnavailable(title: string, detail: string): ProblemError {
  return new ProblemError({ status: 503, title, detail, headers: { 'retry-after': RETRY_AFTER_SECONDS } });
}

export function createNotFound(): ProblemError {
  return new ProblemError({ status: 404, title: 'Not Found', detail: 'There is nothing at this path and method.' });
}

export function createInternalError(): ProblemError {
  return new ProblemError({ status: 500, title: 'Internal Server Error' });
}

/** The part of a request that the framework refused, by its code. */
const REFUSED_FIELDS: Readonly<Record<string, FieldError>> = {
  FST_ERR_CTP_INVALID_JSON_BODY: { field: 'body', message: 'is not valid JSON' },
  FST_ERR_CTP_BODY_TOO_LARGE: { field: 'body', message: 'is too large' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: { field: 'body', message: 'is not as long as its Content-Length' },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: { field: 'headers.content-type', message: 'is not application/json' },
  FST_ERR_BAD_URL: { field: 'params', message: 'is not a valid path' },
  FST_ERR_MAX_PARAM_LENGTH: { field: 'params', message: 'is too long' },
};

/** Fastify's own refusals of a request (malformed JSON, too large, wrong media type, bad URL) have FST_ codes. */
function explainFrameworkError(error: unknown): ProblemError | undefined {
  if (!(error instanceof Error)) return undefined;
  const { statusCode: status, code } = error as Error & { statusCode?: unknown; code?: unknown };
  if (typeof status !== 'number' || status < 400 || status > 499 || typeof code !== 'string') return undefined;
  if (!code.startsWith('FST_') && code !== 'ECONNRESET') return undefined;
  const refused = REFUSED_FIELDS[code];
  return new ProblemError({
    status,
    title: STATUS_CODES[status] ?? 'Bad Request',
    // A message about a URL quotes it.
    detail: error.message.slice(0, LONGEST_DETAIL),
    ...(refused && { errors: [refused] }),
  });
}

interface RefusedByZod {
  readonly validation: readonly { instancePath: string; message?: string; params: Record<string, unknown> }[];
  readonly validationContext?: string;
}

function explainValidation(error: object): ProblemError {
  const { validation, validationContext = 'body' } = error as RefusedByZod;
  const place = validationContext === 'querystring' ? 'query' : validationContext;
  const errors = validation.slice(0, MOST_ERRORS).flatMap(({ instancePath, message = 'is invalid', params }) => {
    const field = [place, ...instancePath.split('/').filter((part) => part !== '')].join('.');
    // Unknown keys are reported at the object that holds them.
    if (Array.isArray(params.keys)) {
      return params.keys
        .slice(0, MOST_ERRORS)
        .map((key) => ({ field: shorten(`${field}.${key}`), message: 'is not a known field' }));
    }
    return [{ field, message }];
  });
  return new ProblemError({
    status: 400,
    title: 'Bad Request',
    detail: shorten(`The request is not valid: ${errors.map(({ field }) => field).join(', ')}.`),
    errors,
  });
}

/** Names that the client has chosen may be as long as the body. */
function shorten(text: string): string {
  return text.length <= LONGEST_DETAIL ? text : `${text.slice(0, LONGEST_DETAIL - 1)}…`;
}
