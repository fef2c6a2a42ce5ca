type Line = { level?: number; time?: number; msg?: string; err?: { message?: string } };

const levels: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};

/** The last `count` lines of a service's log for a person to read: pino's lines shortened, all others as they are. */
export function formatLogLines(log: string, count: number): string {
  const lines = log.trimEnd().split('\n').slice(-count);
  return lines.map((line) => `    ${formatLine(line)}`).join('\n');
}

function formatLine(line: string): string {
  let entry: Line;
  try {
    entry = JSON.parse(line) as Line;
  } catch {
    return line;
  }
  if (entry?.time === undefined || entry.msg === undefined) return line;
  const time = new Date(entry.time).toISOString().slice(11, 23);
  const cause = entry.err?.message === undefined || entry.err.message === entry.msg ? '' : `: ${entry.err.message}`;
  return `${time} ${levels[entry.level ?? 0] ?? entry.level} ${entry.msg}${cause}`;
}
