/** The slot that trails behind the live one, for replays from WAL. */
export function windowSlotName(slotName: string): string {
  return `${slotName}_window`;
}

/** The topic of a slot's checkpoints, where CHECKPOINT_TOPIC names no other. */
export function checkpointTopicName(slotName: string): string {
  return `cdc.checkpoints.${slotName}`;
}
