// Progress for people: on a terminal one line that is written over, elsewhere a line now and then, so that a log of a job
// is not flooded. Time is an argument.

const EVERY_MS = 5_000;

export interface ProgressLine {
  show(line: string): void;
  /** Call before other output. */
  end(): void;
}

export function createProgressLine(
  stream: { write(text: string): unknown },
  isTerminal: boolean | undefined,
  nowMs: () => number,
): ProgressLine {
  let last = '';
  let shownMs = Number.NEGATIVE_INFINITY;
  let isOpen = false;
  return {
    show(line) {
      if (line === last) return;
      if (isTerminal) {
        stream.write(`\r\u001b[K${line}`);
        isOpen = true;
      } else {
        if (nowMs() - shownMs < EVERY_MS) return;
        stream.write(`${line}\n`);
      }
      last = line;
      shownMs = nowMs();
    },
    end() {
      if (isOpen) stream.write('\r\u001b[K');
      isOpen = false;
      last = '';
    },
  };
}
