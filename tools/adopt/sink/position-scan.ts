// Whether the events that a sink has not applied yet continue what it has applied, by the sink's own check; and if not, from
// which offset on they continue one another. Pure: events are added in Kafka's order.
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { comparePositions, type Position } from '#schemas/position.ts';
import { type AppliedPosition, checkPositions } from '../../../cart-sink/apply/move-offsets.ts';

interface ScannedEvent {
  readonly offset: bigint;
  readonly event: OrderPlaced;
  /** Whether the ledger has its order: then it is a duplicate, and legal anywhere. */
  readonly isApplied: boolean;
}

export interface ScanResult {
  /** What the sink halts with; null if every event continues the last. */
  readonly code: 'POSITION_WENT_BACK' | 'GENERATION_CHANGED' | null;
  /** With the position cleared, the sink can continue from here; null: from the start of the scan. */
  readonly resumeOffset: bigint | null;
  /** The lowest position of an unapplied order before `resumeOffset`. */
  readonly lowestSkipped: Position | null;
}

export interface PositionScan {
  add(scanned: ScannedEvent): void;
  result(): ScanResult;
}

const FORGOTTEN: AppliedPosition = { position: null, generation: null };

export function createPositionScan(before: AppliedPosition): PositionScan {
  let stored = before;
  let forgotten = FORGOTTEN;
  let code: ScanResult['code'] = null;
  let resumeOffset: bigint | null = null;
  let lowest: Position | null = null;
  let lowestSkipped: Position | null = null;
  return {
    add({ offset, event, isApplied }) {
      if (code === null) {
        const check = checkPositions(stored, [event], [!isApplied]);
        if (check.kind === 'went-back') code = 'POSITION_WENT_BACK';
        else if (check.kind === 'generation-changed') code = 'GENERATION_CHANGED';
        else stored = advance(stored, event);
      }
      if (checkPositions(forgotten, [event], [!isApplied]).kind === 'continues') {
        forgotten = advance(forgotten, event);
      } else {
        resumeOffset = offset;
        lowestSkipped = lowest;
        forgotten = advance(FORGOTTEN, event);
      }
      if (!isApplied && (lowest === null || comparePositions(event, lowest) < 0)) lowest = event;
    },
    result: () =>
      code === null ? { code, resumeOffset: null, lowestSkipped: null } : { code, resumeOffset, lowestSkipped },
  };
}

function advance({ position, generation }: AppliedPosition, event: OrderPlaced): AppliedPosition {
  const furthest = position === null || comparePositions(event, position) > 0 ? event : position;
  return { position: furthest, generation: generation ?? event.generation };
}
