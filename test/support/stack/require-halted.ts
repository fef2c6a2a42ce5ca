// What a halt looks like from outside, and what must not have happened during it: not one record more in the live topic.

import { expect } from 'vitest';
import { readEvent } from '../oracle/event.ts';
import { readTopic } from '../oracle/read-topic.ts';
import type { Service } from '../process/service-process.ts';
import type { PipelineStage } from './pipeline-stage.ts';

type Halted = { readonly code: string; readonly message: string; readonly details: Readonly<Record<string, string>> };

/**
 * Waits until `service` halts with `code`: log, readiness, metric; it stays alive. Returns what readiness says.
 * @param options.isOld a service of 625f9a0, which has no /health/pipeline
 */
export async function readHalt(
  service: Service,
  code: string | RegExp,
  { deadlineMs = 60_000, isOld = false } = {},
): Promise<Halted> {
  const entry = await service.waitForLog('pipeline.halted', { deadlineMs });
  if (typeof code === 'string') expect(entry.code, String(entry.msg)).toBe(code);
  else expect(entry.code, String(entry.msg)).toMatch(code);
  const body = (await service.ready()).body as { halted?: Halted; haltedPartitions?: readonly Halted[] };
  const halted = body.halted ?? body.haltedPartitions![0]!;
  expect(halted.code).toBe(entry.code);
  expect((await fetch(`${service.url}/health/pipeline`)).status).toBe(isOld ? 404 : 503);
  const series = [...(await service.metrics())].filter(([name]) => name.startsWith('tillstream_halted{'));
  expect(series).toEqual([[expect.stringContaining(`code="${halted.code}"`), 1]]);
  expect(service.exitCode).toBeUndefined();
  return halted;
}

/** Halts that compare two positions in the WAL: the message itself must hold both. Others compare offsets or names. */
const aboutPositions = new Set([
  'CONTENTS_DIFFER',
  'LIVE_TOPIC_MISSING',
  'PUBLICATION_CHANGED',
  'SERVER_BEHIND',
  'SLOT_AHEAD',
  'SLOT_DROPPED',
  'SLOT_LOST',
  'TIMELINE_FORKED',
]);

/** A reader's halt because of a gap: beside the code it names both positions, and what repairs it. */
export async function requireHalted(reader: Service, code: string): Promise<void> {
  const { message, details } = await readHalt(reader, code);
  expect(Object.keys(details).length).toBeGreaterThanOrEqual(2);
  expect(message).toMatch(/SLOT_NAME|npm run adopt/);
  if (aboutPositions.has(code)) {
    expect(message.match(/\b[0-9A-F]{1,8}\/[0-9A-F]{1,8}\b/g)?.length, message).toBeGreaterThanOrEqual(2);
  }
  expect((await reader.ready()).status).toBe(503);
}

/** The committed events of the live topic with their positions, newest last. */
export async function readPublished(stage: PipelineStage) {
  const live = await readTopic({
    brokers: stage.environment.servers.directBrokers.split(','),
    topic: stage.environment.env.ORDERS_TOPIC,
    deadlineMs: 60_000,
  });
  const events = live
    .flatMap(({ records }) => records.filter(({ outcome }) => outcome === 'committed'))
    .flatMap(({ value }) => readEvent(value) ?? []);
  return events.toSorted((a, b) => Number(a.commitLsn - b.commitLsn) || a.ordinal - b.ordinal);
}

/** Fails when the live topic holds other events than `before`. */
export async function requireNothingMore(
  stage: PipelineStage,
  before: Awaited<ReturnType<typeof readPublished>>,
): Promise<void> {
  const ids = (events: typeof before) => events.map(({ orderId }) => orderId).sort();
  expect(ids(await readPublished(stage))).toEqual(ids(before));
}
