// What a lone broker has not flushed when its machine dies: the ends of its newest segments, of each log by itself, since the
// operating system writes pages in no order. Guarantees: a plan follows from the random numbers alone; nothing is cut that lay
// in a log when the round began, for by then it had been flushed. Kafka finds the torn batch and truncates to the last whole one.
import { existsSync, readdirSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

/** By path of the newest segment of each log. */
export type Sizes = ReadonlyMap<string, number>;

const logKinds = ['live', 'checkpoint', 'transactions', 'groups'] as const;
type LogKind = (typeof logKinds)[number];

export interface Damage {
  /** `image`: everything after one moment is lost; `torn`: each log has lost a part of its own. */
  readonly how: 'image' | 'torn';
  readonly kinds: readonly LogKind[];
}

export interface Cut {
  readonly path: string;
  readonly fromBytes: number;
  readonly toBytes: number;
}

const kindOf = (folder: string, names: { live: string; checkpoint: string }): LogKind | undefined => {
  const name = folder.replace(/-\d+$/, '');
  if (name === names.live) return 'live';
  if (name === names.checkpoint) return 'checkpoint';
  if (name === '__transaction_state') return 'transactions';
  return name === '__consumer_offsets' ? 'groups' : undefined;
};

export function planDamage(random: () => number): Damage {
  const how = random() < 0.4 ? 'image' : 'torn';
  const some = logKinds.filter((kind) => random() < (kind === 'live' ? 0.85 : 0.6));
  return { how, kinds: some.length > 0 ? some : [logKinds[Math.floor(random() * logKinds.length)]!] };
}

/** The newest segments of the logs of these kinds. */
export function readSizes(
  dataDirectory: string,
  names: { live: string; checkpoint: string },
  kinds: readonly LogKind[] = logKinds,
): Sizes {
  const sizes = new Map<string, number>();
  for (const folder of readdirSync(dataDirectory)) {
    const kind = kindOf(folder, names);
    if (kind === undefined || !kinds.includes(kind)) continue;
    const segments = readdirSync(join(dataDirectory, folder)).filter((name) => name.endsWith('.log'));
    const newest = segments.toSorted().at(-1);
    if (newest === undefined) continue;
    const path = join(dataDirectory, folder, newest);
    sizes.set(path, statSync(path).size);
  }
  return sizes;
}

/** `flushed`: what is surely on disk; `image`: the moment that an image is of; `now`: what the dead broker has left. */
export function planCuts(
  { how }: Damage,
  { flushed, image, now }: { flushed: Sizes; image: Sizes; now: Sizes },
  random: () => number,
): Cut[] {
  const cuts: Cut[] = [];
  for (const [path, fromBytes] of [...now].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const least = flushed.get(path) ?? 0;
    const [isCut, isShort, share] = [random() < 0.6, random() < 0.3, random()];
    const unflushed = fromBytes - least;
    const lost = isShort ? Math.min(unflushed, 1 + Math.floor(share * 200)) : Math.ceil(share * unflushed);
    const toBytes = how === 'image' ? Math.min(fromBytes, image.get(path) ?? 0) : isCut ? fromBytes - lost : fromBytes;
    if (toBytes < fromBytes) cuts.push({ path, fromBytes, toBytes });
  }
  return cuts;
}

export function carryOutCuts(cuts: readonly Cut[]): void {
  for (const { path, toBytes } of cuts) if (existsSync(path)) truncateSync(path, toBytes);
}
