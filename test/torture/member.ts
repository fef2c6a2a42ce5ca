// One place in the fleet, a reader or a sink: a process now and then, killed and started again in the course of a run.
// Guarantees: who killed it is known, so that an end of its own (a crash) shows, and so does a halt of any of its lives.

import { type LogEntry, type Service, type ServiceName, startService } from '../support/service-process.ts';

export interface Member {
  readonly name: string;
  /** The process now; undefined while it is down. */
  readonly service: Service | undefined;
  /** Every process that it ever was. */
  readonly lives: readonly Service[];
  start(): Promise<Service>;
  kill(): Promise<void>;
  pause(): void;
  resume(): void;
  /** Starts it if it is down, resumes it if it is paused. */
  restore(): Promise<void>;
  /** What it did that no fault justifies: halts, and ends that nobody asked for. In words. */
  troubles(): string[];
  close(): Promise<void>;
}

export function createMember(name: string, service: ServiceName, env: Readonly<Record<string, string>>): Member {
  const lives: Service[] = [];
  const asked = new Set<Service>();
  let current: Service | undefined;
  let paused = false;

  const start = async (): Promise<Service> => {
    current = await startService(service, env);
    lives.push(current);
    return current;
  };
  return {
    name,
    lives,
    get service() {
      return current;
    },
    start,
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
    troubles: () =>
      lives.flatMap((life, index) => {
        const what = `${name} (life ${index + 1}, process ${life.pid})`;
        const halts = life.logs.filter(({ event }) => event === 'pipeline.halted').map(formatHalt);
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
      await last.stop({ deadlineMs: 12_000 }).catch(() => last.kill());
    },
  };
}

const formatHalt = ({ code, msg, details }: LogEntry) => `${code}: ${msg} ${JSON.stringify(details)}`;
