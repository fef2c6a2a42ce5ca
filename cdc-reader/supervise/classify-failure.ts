// What follows when a start of the reader ends: transient (restart), waiting (a person is needed, and the slot is released
// meanwhile), or unknown. The tables of SQLSTATE, errno, TLS and Kafka's codes decide first, down the chain of causes; what
// they don't know are this reader's own errors. Pure. Halts and the hot standby never come here.
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { causesOf, type Failure } from '#service/failure.ts';
import { PreflightError } from './restart-errors.ts';

/** Own errors that the next start, or the server's next answer, ends. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set([
  'CAPTURE_UNSTEADY',
  'CHECKPOINT_HIDDEN',
  'CHECKPOINT_UNDECIDED',
  'DRAIN_ABANDONED',
  'FIRST_START_UNFINISHED',
  'GROUP_TOO_LARGE',
  'LIVE_TOPIC_UNSETTLED',
  'LOG_READ_DEADLINE',
  'OVERTAKEN',
  'PRODUCER_FENCED',
  'PUBLISH_OUTCOME_UNKNOWN',
  'SESSION_ENDED',
  'SERVER_SHUTTING_DOWN',
  'SLOT_EXISTS',
  'SLOT_NOT_STREAMING',
  'SLOT_WAITS_FOR_TRANSACTIONS',
  'SOURCE_MOVED',
  'SOURCE_SESSION_ENDED',
  'STREAM_LOST',
]);

/** A topic that is missing and may not be created; its message has the command. */
const WAITING_CODES: ReadonlySet<string> = new Set(['TOPIC_MISSING']);

/** What Postgres answers where a value as text, a bytea above 512 MB for one, is more than it can hold in memory at once. */
const UNSTREAMABLE = /invalid memory alloc request size|cannot enlarge string buffer/;
const PASS_VALUE =
  'A row has a value that Postgres can not stream, in a column or table of somebody else: nothing behind it arrives. Run ' +
  '`npm run adopt -- reader --force`, start the reader, then run the replay that adopt prints, and `npm run audit`.';

export function classifyReaderFailure(error: unknown): Failure {
  if (error instanceof PreflightError)
    return { kind: 'waiting', name: error.problems[0]?.code ?? error.code, remedy: '' };
  const code = String((error as { code?: unknown } | undefined)?.code);
  if (WAITING_CODES.has(code)) return { kind: 'waiting', name: code, remedy: '' };
  if ([...causesOf(error)].some(({ message }) => UNSTREAMABLE.test(message)))
    return { kind: 'waiting', name: 'VALUE_TOO_LARGE', remedy: PASS_VALUE };
  const failure = classifyKafkaFailure(error);
  if (failure.kind !== 'unknown') return failure;
  return TRANSIENT_CODES.has(code) ? { kind: 'transient', reason: code } : failure;
}
