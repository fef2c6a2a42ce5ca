/**
 * A transaction whose statements are sent without waiting for the results of those before: two round trips instead of one
 * a statement, and each statement is parsed and planned once a connection.
 *
 * Guarantees: statements run in the order in which they were sent, each with a snapshot of its own, and none after a
 * failure; the transaction has committed when this resolves, and has not when it rejects, except for
 * CommitUnansweredError. Leaves to callers: what must be decided by a result is awaited before the statement behind it.
 */
import type { Queryable, SQLQuery } from '@databases/pg';
import type { DatabaseError } from 'pg';

export interface Statements {
  /** Fails with what the statement, or one before it, failed with. */
  readonly query: Queryable['query'];
  /** Sends a statement whose result nobody needs: nothing waits for it, and its failure is that of the transaction. */
  send(statement: SQLQuery): void;
}

/** The COMMIT was sent and got no answer: whether it took effect is unknown. */
export class CommitUnansweredError extends Error {
  override readonly name = 'CommitUnansweredError';
}

/** What is used of a `pg` client that no one else uses meanwhile. `pipeline`: documented option of pg, read at each query. */
export interface PipelineClient {
  pipeline: boolean;
  query(
    statement: string | { name: string; text: string; values: unknown[] },
  ): Promise<{ command: string; rows: object[] }>;
}

const BEGIN = 'BEGIN ISOLATION LEVEL READ COMMITTED';
const format = {
  escapeIdentifier: (name: string) => `"${name.replaceAll('"', '""')}"`,
  formatValue: (value: unknown, index: number) => ({ placeholder: `$${index + 1}`, value }),
};
/** Prepared statements by their text; the texts are few, since lists are arrays. */
const names = new Map<string, string>();

/** The same text has the same name, under which a connection prepares it once. */
export function formatPrepared(statement: SQLQuery): { name: string; text: string; values: unknown[] } {
  const { text, values } = statement.format(format);
  return { name: names.getOrInsertComputed(text, () => `tillstream_${names.size + 1}`), text, values };
}

/** The connection must not be used again: what state it is in is unknown. */
export interface FailedTransaction {
  readonly error: unknown;
  readonly isReusable: boolean;
}

/**
 * Runs `work` and commits. Rejects with {@link FailedTransaction}, so that the caller can drop the connection.
 */
export async function runPipelined<T>(client: PipelineClient, work: (tx: Statements) => Promise<T>): Promise<T> {
  const sent: Promise<unknown>[] = [];
  const submit = (statement: Parameters<PipelineClient['query']>[0]) => {
    const result = client.query(statement);
    sent.push(result);
    result.catch(() => undefined); // the first failure is thrown below
    return result;
  };
  const query = async (statement: SQLQuery): Promise<object[]> => (await submit(formatPrepared(statement))).rows;
  let commit: Promise<{ command: string }> | undefined;
  client.pipeline = true;
  try {
    void submit(BEGIN);
    const send = (statement: SQLQuery): void => {
      query(statement).catch(() => undefined); // the first failure is thrown below
    };
    const result = await work({ query, send } as Statements);
    commit = submit('COMMIT');
    await Promise.all(sent);
    // Behind a failure, COMMIT is answered without an error: what it did is in the tag.
    if ((await commit).command !== 'COMMIT') throw new Error('The transaction was rolled back by the server.');
    return result;
  } catch (error) {
    throw await endFailed(client, sent, commit, error);
  } finally {
    client.pipeline = false;
  }
}

async function endFailed(
  client: PipelineClient,
  sent: readonly Promise<unknown>[],
  commit: Promise<{ command: string }> | undefined,
  error: unknown,
): Promise<FailedTransaction> {
  await Promise.allSettled(sent);
  if (commit === undefined) {
    const isRolledBack = await client.query('ROLLBACK').then(
      () => true,
      () => false,
    );
    return { error, isReusable: isRolledBack && !isStalePlan(error) };
  }
  const outcome = await commit.then(
    ({ command }) => command,
    (cause: unknown) => (isAnswer(cause) ? 'ROLLBACK' : undefined),
  );
  if (outcome === 'ROLLBACK') return { error, isReusable: !isStalePlan(error) };
  return { error: new CommitUnansweredError('The COMMIT got no answer.', { cause: error }), isReusable: false };
}

/** The server has refused the COMMIT; a FATAL ends the session, and the transaction may have committed before. */
function isAnswer(error: unknown): boolean {
  return (error as Partial<DatabaseError>).severity === 'ERROR';
}

/** After DDL a statement that was prepared before it can't run, or is gone: another connection prepares it again. */
export function isStalePlan(error: unknown): boolean {
  const { code } = error as Partial<DatabaseError>;
  return code === '0A000' || code === '26000';
}
