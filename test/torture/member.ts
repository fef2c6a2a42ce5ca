// One place in the fleet, a reader or a sink: a process now and then, killed and started again in the course of a run.
// Guarantees: who killed it is known, so that an end of its own (a crash) shows, and so does a halt of any of its lives.

import { type LogEntry, type Service, type ServiceName, startService } from '../support/process/service-process.ts';

export interface Member {
  readonly name: string;
  /** The process now; undefined while it is down. */
  readonly service: Service | undefined;
  /** Every process that it ever was. */
  readonly lives: readonly Service[];
  start(): Promise<Service>;
  /** As an operator does it, by SIGTERM. */
  stop(): Promise<void>;
  kill(): Promise<void>;
  pause(): void;
  resume(): void;
  /** Starts it if it is down, resumes it if it is paused. */
  restore(): Promise<void>;
  /** From now on a fault justifies halts with this code, of the process now and of those to come; undefined: no more. */
  justifyHalts(code: string | undefined): void;
  /** What it did that no fault justifies: halts, and ends that nobody asked for. In words. */
  troubles(): string[];
  close(): Promise<void>;
}

const stopDeadlineMs = 12_000;

/** What a process has said of its halts. */
export const haltsOf = ({ logs }: Service): LogEntry[] => logs.filter(({ event }) => event === 'pipeline.halted');

export function createMember(name: string, service: ServiceName, env: Readonly<Record<string, string>>): Member {
  const lives: Service[] = [];
  const asked = new Set<Service>();
  const justified = new Map<Service, string>();
  let justifiedCode: string | undefined;
  let current: Service | undefined;
  let paused = false;

  const start = async (): Promise<Service> => {
    current = await startService(service, env);
    lives.push(current);
    if (justifiedCode !== undefined) justified.set(current, justifiedCode);
    return current;
  };
  return {
    name,
    lives,
    get service() {
      return current;
    },
    start,
    async stop() {
      if (current === undefined) return;
      asked.add(current);
      await current.stop({ deadlineMs: stopDeadlineMs });
      [current, paused] = [undefined, false];
    },
    async kill() {
      if (current === undefined) return;
      asked.add(current);
      await current.kill();
      [current, paused] = [undefined, false];
    },
    pause() {
      current?.pause();
      paused = current !== undefined;
    },
    resume() {
      if (paused) current?.resume();
      paused = false;
    },
    async restore() {
      this.resume();
      if (current === undefined) await start();
    },
    justifyHalts(code) {
      justifiedCode = code;
      if (code !== undefined && current !== undefined) justified.set(current, code);
    },
    troubles: () =>
      lives.flatMap((life, index) => {
        const what = `${name} (life ${index + 1}, process ${life.pid})`;
        const halts = haltsOf(life)
          .filter(({ code }) => code !== justified.get(life))
          .map(formatHalt);
        const crashed = life.exitCode !== undefined && !asked.has(life);
        const lastWords = [...life.logs.slice(-3).map((entry) => JSON.stringify(entry)), ...life.output.slice(-3)];
        return [
          ...halts.map((halt) => `${what} halted: ${halt}`),
          ...(crashed ? [`${what} ended by itself with ${life.exitCode}: ${lastWords.join(' | ')}`] : []),
        ];
      }),
    async close() {
      const last = current;
      if (last === undefined || last.exitCode !== undefined) return;
      asked.add(last);
      current = undefined;
      await last.stop({ deadlineMs: stopDeadlineMs }).catch(() => last.kill());
    },
  };
}

const formatHalt = ({ code, msg, details }: LogEntry) => `${code}: ${msg} ${JSON.stringify(details)}`;
