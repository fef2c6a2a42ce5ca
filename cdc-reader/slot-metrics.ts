// The metrics of the reader's slots on the server, apart from metrics.ts because they outlive every start of the reader.
// `slot` is `live` or `window`. A figure that the server does not give (no limit, no such slot), and one that is too old to be
// true, has no series; when the figures were read has one for ever.
import type { Metrics, StateSample } from '#service/metrics.ts';
import { STALE_MS } from './lag-metrics.ts';
import type { SlotHealth, SlotsHealth } from './postgres/slots/slot-health.ts';

interface SlotNames {
  readonly slotName: string;
  readonly windowSlotName: string;
}

export function createSlotMetrics(metrics: Metrics, nowMs: () => number) {
  let sampledAtMs: number | undefined;
  let last: { readonly health: SlotsHealth; readonly names: SlotNames; readonly atMs: number } | undefined;
  const fresh = () => (last !== undefined && nowMs() - last.atMs <= STALE_MS ? last : undefined);
  const bySlot = (): [slot: string, health: SlotHealth | undefined][] => {
    const found = fresh();
    if (found === undefined) return [];
    const { slots } = found.health;
    return [
      ['live', slots.get(found.names.slotName)],
      ['window', slots.get(found.names.windowSlotName)],
    ];
  };
  const perSlot = (name: string, help: string, read: (slot: SlotHealth) => bigint | number | null): void =>
    metrics.state(`tillstream_reader_slot_${name}`, help, ['slot'], () =>
      bySlot().flatMap(([slot, health]): StateSample<'slot'>[] => {
        const value = health === undefined ? null : read(health);
        return value === null ? [] : [[{ slot }, Number(value)]];
      }),
    );
  const ofServer = (name: string, help: string, read: (health: SlotsHealth) => bigint | number): void =>
    metrics.state(`tillstream_reader_slot_${name}`, help, [], () => {
      const found = fresh();
      return found === undefined ? [] : [[{}, Number(read(found.health))]];
    });

  metrics.state(
    'tillstream_reader_slot_wal_status',
    '1 for the present one: reserved, extended, unreserved, lost, missing (no slot)',
    ['slot', 'wal_status'],
    () => bySlot().map(([slot, health]) => [{ slot, wal_status: describe(health) }, 1]),
  );
  perSlot('retained_bytes', 'WAL that the slot keeps on the server', (slot) => slot.retainedBytes);
  perSlot(
    'safe_wal_bytes',
    'WAL that can be written before max_slot_wal_keep_size endangers the slot',
    (slot) => slot.safeBytes,
  );
  perSlot(
    'catalog_xmin_age',
    'Transactions since the oldest one that the slot keeps catalogue rows for',
    (slot) => slot.catalogXminAge,
  );
  ofServer('datfrozenxid_age', 'Age of datfrozenxid of the orders database', (health) => health.frozenXidAge);
  ofServer(
    'max_wal_keep_bytes',
    'max_slot_wal_keep_size of the server; -1 is no limit',
    (health) => health.maxKeepBytes ?? -1,
  );
  ofServer(
    'idle_timeout_seconds',
    'idle_replication_slot_timeout of the server; 0 where it has no limit or no such setting',
    (health) => health.idleTimeoutSeconds ?? 0,
  );
  metrics.state('tillstream_reader_slot_sampled_at_seconds', 'When these figures were read, since 1970', [], () =>
    sampledAtMs === undefined ? [] : [[{}, sampledAtMs / 1000]],
  );
  return {
    /** The live slot exists: a sample that lacks it is of before. */
    streamingBegan(): void {
      if (last !== undefined && !last.health.slots.has(last.names.slotName)) last = undefined;
    },
    slotsSampled(health: SlotsHealth, names: SlotNames): void {
      sampledAtMs = nowMs();
      last = { health, names, atMs: sampledAtMs };
    },
  };
}

/** A slot that was invalidated is lost, whatever status it shows beside that. */
function describe(slot: SlotHealth | undefined): string {
  if (slot === undefined) return 'missing';
  return slot.invalidationReason === null ? (slot.walStatus ?? 'reserved') : 'lost';
}
