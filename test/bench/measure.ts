// Figures of processes, taken from /proc, and of series of numbers. Linux only, as the bench itself.

import { readFileSync } from 'node:fs';

const ticksPerSecond = 100;

/** User and system time of a process so far, in seconds. Throws when it has ended. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** The most memory that a process ever held, in MB of 1024². Throws when it has ended. */
export function peakMemoryMb(pid: number): number {
  const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1024;
}

/** Bytes that a process has passed to write calls so far. Throws when it has ended. */
export function writtenBytes(pid: number): number {
  return Number(/wchar: (\d+)/.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);
}

/** The value that `share` (0 to 1) of the values don't exceed; NaN for an empty list. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

export const median = (values: readonly number[]) => percentile(values, 0.5);

/** Milliseconds since 1970 by the clock that log lines and brokers use, with fractions. */
export const nowMs = () => performance.timeOrigin + performance.now();

/** When a service wrote a log line, milliseconds since 1970; throws when the line has no time. */
export function loggedAtMs({ time }: { readonly time: string }): number {
  const atMs = Date.parse(time);
  if (Number.isNaN(atMs)) throw new Error(`A log line has the time ${time}.`);
  return atMs;
}
