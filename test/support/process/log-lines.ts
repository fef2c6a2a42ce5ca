/** A logger whose lines a test can look at. */
import { Writable } from 'node:stream';
import { pino } from 'pino';
import type { Logger } from '#service/logger.ts';
import { loggerOptions } from '#service/logger.ts';

export interface LogLine {
  readonly level: string;
  readonly event?: string;
  readonly msg?: string;
  readonly [field: string]: unknown;
}

export function createLogLines(level = 'debug'): { logger: Logger; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  return { logger: pino(loggerOptions('test', level), stream), lines };
}
