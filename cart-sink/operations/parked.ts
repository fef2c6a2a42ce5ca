import type { PendingParkedRow } from '../sql/parked-events.ts';
import { formatParkedCommand } from './repair-commands.ts';

/** A parked record as the operations port shows it, with the command that shows its bytes. */
export function formatParked({ parked_id, topic, partition, offset, reason, parked_at }: PendingParkedRow) {
  return {
    id: String(parked_id),
    topic,
    partition,
    offset: String(offset),
    reason,
    parkedAt: parked_at.toISOString(),
    command: formatParkedCommand(parked_id),
  };
}
