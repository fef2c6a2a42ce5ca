// One round of readings, and what several services' metrics say together: sums, and rates between two rounds. Pure. A figure that no
// service gave is null, and so is a rate over the restart of a process, whose counters begin at 0.
import { findValue, type Samples, sumValues } from './prometheus-text.ts';
import type { ServiceKind, ServiceReading } from './read-service.ts';

export type Round = readonly ServiceReading[];

export const atOf = (round: Round): number => Math.max(...round.map(({ atMs }) => atMs));

export const metricsOf = (round: Round, kind?: ServiceKind): Samples[] =>
  round.flatMap((one) => (one.answer === undefined || (kind ?? one.kind) !== one.kind ? [] : [one.answer.metrics]));

export function sumOf(name: string, round: Round): number | null {
  const sums = metricsOf(round).flatMap((samples) => sumValues(samples, name) ?? []);
  return sums.length === 0 ? null : sums.reduce((sum, value) => sum + value, 0);
}

/** A second; null where it is not known, or a process was restarted in between. */
export function rateOf(name: string, before: Round, after: Round): number | null {
  const [first, last, seconds] = [sumOf(name, before), sumOf(name, after), (atOf(after) - atOf(before)) / 1_000];
  if (first === null || last === null || seconds <= 0 || last < first) return null;
  return (last - first) / seconds;
}

export function streamingReaderOf(round: Round): Samples | undefined {
  return metricsOf(round, 'cdc-reader').find((samples) => findValue(samples, 'tillstream_reader_streaming') === 1);
}

/** The reader that streams; else one that answers. */
export const readerOf = (round: Round): Samples | undefined =>
  streamingReaderOf(round) ?? metricsOf(round, 'cdc-reader')[0];
