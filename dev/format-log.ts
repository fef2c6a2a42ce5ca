type Line = { level?: string; time?: string; msg?: string; err?: { message?: string } };

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
  const cause = entry.err?.message === undefined || entry.err.message === entry.msg ? '' : `: ${entry.err.message}`;
  return `${entry.time} ${entry.level} ${entry.msg}${cause}`;
}
