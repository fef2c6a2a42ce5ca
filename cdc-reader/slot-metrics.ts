// The metrics of the reader's slots on the server, apart from metrics.ts because they outlive every start of the reader.
// `slot` is `live` or `window`. A figure that the server does not give (no limit, no such slot) has no series.
import type { Metrics } from '#service/metrics.ts';
import type { SlotHealth, SlotsHealth } from './postgres/slots/slot-health.ts';

export function createSlotMetrics(metrics: Metrics, nowMs: () => number) {
  const perSlot = (name: string, help: string) => metrics.gauge(`tillstream_reader_slot_${name}`, help, ['slot']);
  const walStatus = metrics.gauge(
    'tillstream_reader_slot_wal_status',
    '1 for the present wal_status of the slot: reserved, extended, unreserved, lost, or missing without a slot',
    ['slot', 'wal_status'],
  );
  const bySlot: readonly [ReturnType<typeof perSlot>, (slot: SlotHealth) => bigint | number | null][] = [
    [perSlot('retained_bytes', 'WAL that the slot keeps on the server'), (slot) => slot.retainedBytes],
    [
      perSlot('safe_wal_bytes', 'WAL that can be written before max_slot_wal_keep_size endangers the slot'),
      (slot) => slot.safeBytes,
    ],
    [
      perSlot('catalog_xmin_age', 'Transactions since the oldest one that the slot keeps catalogue rows for'),
      (slot) => slot.catalogXminAge,
    ],
  ];
  const ofServer: readonly [ReturnType<Metrics['gauge']>, (health: SlotsHealth) => bigint | number | null][] = [
    [
      metrics.gauge('tillstream_reader_slot_datfrozenxid_age', 'Age of datfrozenxid of the orders database'),
      (health) => health.frozenXidAge,
    ],
    [
      metrics.gauge(
        'tillstream_reader_slot_max_wal_keep_bytes',
        'max_slot_wal_keep_size of the server; -1 is no limit',
      ),
      (health) => health.maxKeepBytes ?? -1,
    ],
    [
      metrics.gauge(
        'tillstream_reader_slot_idle_timeout_seconds',
        'idle_replication_slot_timeout of the server; 0 where it has no limit or no such setting',
      ),
      (health) => health.idleTimeoutSeconds ?? 0,
    ],
  ];
  const sampledAt = metrics.gauge(
    'tillstream_reader_slot_sampled_at_seconds',
    'When these figures were read, since 1970',
  );
  return {
    slotsSampled(health: SlotsHealth, names: { readonly slotName: string; readonly windowSlotName: string }): void {
      walStatus.reset();
      for (const [slot, name] of [
        ['live', names.slotName],
        ['window', names.windowSlotName],
      ] as const) {
        const found = health.slots.get(name);
        walStatus.set({ slot, wal_status: describe(found) }, 1);
        for (const [gauge, read] of bySlot) {
          const value = found === undefined ? null : read(found);
          if (value === null) gauge.remove({ slot });
          else gauge.set({ slot }, Number(value));
        }
      }
      for (const [gauge, read] of ofServer) gauge.set(Number(read(health)));
      sampledAt.set(nowMs() / 1000);
    },
  };
}

/** A slot that was invalidated is lost, whatever status it shows beside that. */
function describe(slot: SlotHealth | undefined): string {
  if (slot === undefined) return 'missing';
  return slot.invalidationReason === null ? (slot.walStatus ?? 'reserved') : 'lost';
}
