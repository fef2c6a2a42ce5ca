/**
 * A secret, and where it is read from again.
 *
 * Guarantees: a secret that came from a file is read at each use, so that a new password is in force at the next connection
 * without a restart; neither printing nor serialising a secret shows it; a file that can't be read any more is an error by
 * its variable's name. Leaves to environment.ts: which variables are secrets, and the refusal of a bad file at the start.
 */
import { readFileSync } from 'node:fs';
import { WaitingError } from '../failure.ts';

export interface Secret {
  /** The environment variable that gave it: NAME or NAME_FILE. */
  readonly name: string;
  /** @throws SecretFileError */
  readonly read: () => string;
}

/** The file of a secret can't be read. */
export class SecretFileError extends WaitingError {
  readonly code = 'SECRET_FILE';
  override readonly name = 'SecretFileError';
  /** Without the variable's name. */
  readonly problem: string;

  constructor(variable: string, problem: string, options?: ErrorOptions) {
    super(`${variable}: ${problem}. It is read again at each attempt to connect`, options);
    this.problem = problem;
  }
}

export function fixedSecret(name: string, text: string): Secret {
  return Object.freeze({ name, read: () => text });
}

export function fileSecret(name: string, path: string): Secret {
  return Object.freeze({ name, read: () => readSecretFile(name, path) });
}

/**
 * Where the text of a variable comes from: the environment, for a secret also a file, else its fallback. Set both ways, its
 * use throws.
 */
export function findSecret(
  { name, isSecret, fallback }: { readonly name: string; readonly isSecret?: true; readonly fallback?: string },
  env: Readonly<Record<string, string | undefined>>,
): Secret | undefined {
  const text = env[name] || undefined;
  const path = isSecret === true ? env[`${name}_FILE`] || undefined : undefined;
  if (path === undefined) return text || fallback ? fixedSecret(name, (text ?? fallback)!) : undefined;
  if (text === undefined) return fileSecret(`${name}_FILE`, path);
  const refuse = (): never => {
    throw new Error(`set either ${name} or ${name}_FILE, not both`);
  };
  return { name, read: refuse };
}

/** The file's text without one line end behind it, which editors and `echo` write. */
function readSecretFile(name: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new SecretFileError(name, `the file that it names can't be read (${code})`, { cause: error });
  }
  const secret = text.replace(/\r?\n$/, '');
  if (secret === '') throw new SecretFileError(name, 'the file that it names is empty');
  return secret;
}
