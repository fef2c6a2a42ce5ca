// What may end a slot before the reader has read from it what it needs: settings of the server, and how near a limit it
// is. Pure. Nothing here stops the reader; it is for a person to change while there is time.
import type { SlotsHealth } from '../postgres/slots/slot-health.ts';

/** `key` names the risk: a risk is reported when its key appears, and its changing figures are not news. */
interface SlotRisk {
  readonly key: string;
  readonly message: string;
}

type Names = { readonly slotName: string; readonly windowSlotName: string };

export function findSlotRisks(health: SlotsHealth, { slotName, windowSlotName }: Names): SlotRisk[] {
  const { maxKeepBytes, idleTimeoutSeconds, slots } = health;
  const risks: SlotRisk[] = [];
  if (maxKeepBytes !== null) {
    risks.push({
      key: `max_slot_wal_keep_size ${maxKeepBytes}`,
      message:
        `max_slot_wal_keep_size is ${maxKeepBytes} bytes: when an outage writes more WAL than that, Postgres invalidates ` +
        `${slotName} and the reader halts with SLOT_LOST. It must cover the longest outage and REPLAY_WINDOW_BYTES; -1 is no limit.`,
    });
  }
  if (idleTimeoutSeconds !== null && idleTimeoutSeconds > 0n) {
    risks.push({
      key: `idle_replication_slot_timeout ${idleTimeoutSeconds}`,
      message:
        `idle_replication_slot_timeout is ${idleTimeoutSeconds} s: Postgres invalidates ${slotName} when the reader is down ` +
        `for longer (SLOT_LOST), and ${windowSlotName} with the replay window again and again. Run ` +
        'ALTER SYSTEM SET idle_replication_slot_timeout = 0 and SELECT pg_reload_conf().',
    });
  }
  for (const [name, slot] of slots) {
    if (slot.invalidationReason === null && (slot.walStatus === 'reserved' || slot.walStatus === 'extended')) continue;
    if (slot.walStatus === null && slot.invalidationReason === null) continue; // it is being created
    const why = slot.invalidationReason === null ? '' : ` (${slot.invalidationReason})`;
    const status = slot.invalidationReason === null ? slot.walStatus : 'lost';
    risks.push({
      key: `${name} ${status}${why}`,
      message:
        status === 'lost'
          ? `Postgres has invalidated the slot ${name}${why}: it can't be read any more.`
          : `The slot ${name} keeps more WAL than max_slot_wal_keep_size allows (wal_status ${status}): the next checkpoint ` +
            'of the server may invalidate it. Let the reader publish, or raise max_slot_wal_keep_size now.',
    });
  }
  return risks;
}
