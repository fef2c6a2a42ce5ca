// What an operator reads before accepting a gap of the reader, and after. Pure.

import type { Checkpoint } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import type { CdcReaderConfig } from '../../../cdc-reader/config.ts';
import type { ReaderFacts, ReaderPlan } from './plan-reader.ts';

type Names = Pick<CdcReaderConfig, 'slotName' | 'checkpointTopic' | 'ordersTopic' | 'transactionalId'>;

export function formatReaderPlan(names: Names, facts: ReaderFacts, plan: ReaderPlan, generation: number): string[] {
  const { halt, checkpoint, identity, flushLsn, slotExists } = facts;
  const through = checkpoint === null ? 'unknown: there is no checkpoint' : formatLsn(checkpoint.throughLsn);
  const last = checkpoint?.lastPublished;
  const details = Object.entries(halt?.details ?? {}).map(([name, value]) => `    ${name}: ${value}`);
  const slot = slotExists ? `drop the slot ${names.slotName} and create it again` : `create the slot ${names.slotName}`;
  const steps = [
    `shut earlier readers out of Kafka (${names.transactionalId})`,
    `${slot}; it begins where the server's log ends then, after the transactions that are open now`,
    ...(plan.newGeneration === null
      ? []
      : [
          `begin generation ${generation} of ${names.ordersTopic} (${plan.newGeneration}): the sinks' offsets of it go back to 0, their ledger stays`,
        ]),
    `write a checkpoint to ${names.checkpointTopic}: orders committed from ${formatLsn(plan.gapFrom)} up to the new slot's start count as not published`,
  ];
  return [
    halt === null ? 'Nothing wrong is found; this goes on because of --force.' : `The reader halts with ${halt.code}:`,
    ...details,
    `  published through  ${through}${last ? ` (last order at ${formatLsn(last.commitLsn)}:${last.ordinal})` : ''}`,
    `  the server is at   ${formatLsn(flushLsn)}, timeline ${identity.timeline}`,
    'Accepting the gap means to:',
    ...steps.map((step, index) => `  ${index + 1}. ${step}`),
    plan.newGeneration === null
      ? 'Orders in the gap are not applied until a replay is run, which comes next.'
      : 'Orders that the sinks have not applied by now are not applied until a replay is run, which comes next.',
  ];
}

/** `repairs`: the commands that close the gap, the surest last. */
export function formatReaderDone(
  checkpoint: Checkpoint,
  groups: readonly string[] | null,
  repairs: readonly string[],
): string[] {
  const range = ({ fromLsn, toLsn }: { fromLsn: Lsn; toLsn: Lsn }) => `[${formatLsn(fromLsn)}, ${formatLsn(toLsn)})`;
  const [first, ...others] = repairs;
  const steps = [
    'start the reader again: npm run cdc-reader',
    ...(groups === null ? [] : ['restart the sinks: npm run cart-sink']),
    `close the gap: ${first}${others.length > 0 ? `   (or: ${others.join(', ')})` : ''}`,
    'check: npm run audit',
  ];
  return [
    `Done: the reader goes on from ${formatLsn(checkpoint.throughLsn)}, generation ${checkpoint.generation}.`,
    `Not in the live topic: ${checkpoint.gaps.map(range).join(', ') || 'nothing'}.`,
    ...(groups === null ? [] : [`Offsets reset for: ${groups.join(', ') || 'no group, none had consumed it'}.`]),
    'Next:',
    ...steps.map((step, index) => `  ${index + 1}. ${step}`),
  ];
}
