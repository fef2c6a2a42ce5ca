// What a command prints for programs (--json): one object on standard output, and nothing else there. Guarantees: 64-bit numbers
// are text and maps are objects. Lines for people go to standard error.

/** `value` as one line. */
export function formatJson(value: unknown): string {
  return `${JSON.stringify(value, (_key, one) => {
    if (typeof one === 'bigint') return one.toString();
    return one instanceof Map ? Object.fromEntries(one) : one;
  })}\n`;
}

interface Streams {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
}

/** Prints a command's lines where they belong; with `json`, {@link CommandOutput.end} gives them to programs, too. */
export interface CommandOutput {
  readonly print: (line: string) => void;
  /** What came of the command: its lines, or what they say in data. */
  end(result?: Readonly<Record<string, unknown>>): void;
}

export function createCommandOutput({ stdout, stderr }: Streams, json: boolean): CommandOutput {
  const messages: string[] = [];
  return {
    print: (line) => {
      messages.push(line);
      (json ? stderr : stdout).write(`${line}\n`);
    },
    end: (result = { messages }) => {
      if (json) stdout.write(formatJson(result));
    },
  };
}
