// What an operator reads before accepting a gap of the reader, and after. Pure.
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { formatLsn } from '#schemas/lsn.ts';
import type { CdcReaderConfig } from '../../../cdc-reader/config.ts';
import { formatRange } from '../../repairs.ts';
import type { ReaderFacts, ReaderPlan } from './plan-reader.ts';

type Names = Pick<CdcReaderConfig, 'slotName' | 'checkpointTopic' | 'ordersTopic' | 'transactionalId'>;

const number = (steps: readonly string[]) => steps.map((step, index) => `  ${index + 1}. ${step}`);

export function formatReaderPlan(names: Names, facts: ReaderFacts, plan: ReaderPlan, generation: number): string[] {
  const { halt, checkpoint, identity, flushLsn, slotExists } = facts;
  const through = checkpoint === null ? 'unknown: there is no checkpoint' : formatLsn(checkpoint.throughLsn);
  const last = checkpoint?.lastPublished;
  const details = Object.entries(halt?.details ?? {}).map(([name, value]) => `    ${name}: ${value}`);
  const slot = slotExists ? `drop the slot ${names.slotName} and create it again` : `create the slot ${names.slotName}`;
  const newGeneration = `begin generation ${generation} of ${names.ordersTopic} (${plan.newGeneration}): the sinks' offsets of it are reset to 0, their ledger stays`;
  return [
    halt === null ? 'Nothing wrong is found; --force continues anyway.' : `The reader halts with ${halt.code}:`,
    ...details,
    `  published through  ${through}${last ? ` (last order at ${formatLsn(last.commitLsn)}:${last.ordinal})` : ''}`,
    `  server's WAL end   ${formatLsn(flushLsn)}, timeline ${identity.timeline}`,
    'Accepting the gap will:',
    ...number([
      `fence every earlier reader (transactional id ${names.transactionalId})`,
      `${slot}; it starts at the end of the WAL, once the transactions that are open now have ended`,
      ...(plan.newGeneration === null ? [] : [newGeneration]),
      `write a checkpoint to ${names.checkpointTopic}: orders committed from ${formatLsn(plan.gapFrom)} up to the new slot's start count as not published`,
    ]),
    plan.newGeneration === null
      ? 'Orders in the gap are not applied until a replay is run, which is the next step.'
      : 'Orders that the sinks have not applied by now are not applied until a replay is run, which is the next step.',
  ];
}

export function formatFirstStartPlan({ halt }: ReaderFacts): string[] {
  return [
    `The reader's first start is not finished, and halts with ${halt!.code}: ${halt!.message}`,
    'Accepting this lets the first start continue with the tables as they are now.',
  ];
}

/** `groups`: null if the generation goes on. `repairs`: the commands that close the gap, the surest last. */
export function formatReaderDone(
  checkpoint: Checkpoint,
  groups: readonly string[] | null,
  repairs: readonly string[],
): string[] {
  const [first, ...others] = repairs;
  return [
    `Done: the reader continues from ${formatLsn(checkpoint.throughLsn)}, generation ${checkpoint.generation}.`,
    `Not in the live topic: ${checkpoint.gaps.map(formatRange).join(', ') || 'nothing'}.`,
    ...(groups === null ? [] : [`Offsets reset for: ${groups.join(', ') || 'no group; none had consumed the topic'}.`]),
    'Next:',
    ...number([
      'start the reader: npm run cdc-reader',
      ...(groups === null ? [] : ['restart the sinks: npm run cart-sink']),
      `close the gap: ${first}${others.length > 0 ? `   (or: ${others.join(', ')})` : ''}`,
      'check: npm run audit',
    ]),
  ];
}
