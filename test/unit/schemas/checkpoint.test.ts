import { describe, expect, it } from 'vitest';
import { formatVersion1 } from '#schemas/capture-fingerprint.ts';
import {
  type Checkpoint,
  findWitness,
  formatCheckpoint,
  isSlotAhead,
  MalformedCheckpointError,
  parseCheckpoint,
  publishFrom,
} from '#schemas/checkpoint.ts';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { exampleOids } from '../../support/examples/capture.ts';
import { advancedCheckpoint } from '../../support/examples/checkpoint.ts';

const at = (value: number): Lsn => toLsn(BigInt(value));

const checkpoint = advancedCheckpoint();

describe('throughLsn', () => {
  it.each([
    ['right before it', 1_199, { kind: 'drop' }],
    ['right at it: the next commit record begins where the last one ended', 1_200, { kind: 'publish', ordinal: 0 }],
    ['behind it', 1_201, { kind: 'publish', ordinal: 0 }],
  ])('decides on a transaction that commits %s', (_, commitLsn, expected) => {
    expect(publishFrom(checkpoint, at(commitLsn))).toEqual(expected);
  });

  it('lets a partly published transaction go on behind its last published ordinal', () => {
    const partial = { ...checkpoint, partial: { commitLsn: at(1_300), ordinal: 41 } };
    expect(publishFrom(partial, at(1_300))).toEqual({ kind: 'publish', ordinal: 42 });
    expect(publishFrom(partial, at(1_301))).toEqual({ kind: 'publish', ordinal: 0 });
  });

  it.each([
    [1_199, false],
    [1_200, false],
    [1_201, true],
  ])('says of a slot confirmed at %i that it is ahead: %s', (confirmed, ahead) => {
    expect(isSlotAhead(checkpoint, at(confirmed))).toBe(ahead);
  });
});

describe('a checkpoint', () => {
  it('comes back as it was written', () => {
    expect(parseCheckpoint(formatCheckpoint(checkpoint))).toEqual(checkpoint);
    const partial = { ...checkpoint, partial: { commitLsn: at(7), ordinal: 3 }, lastPublished: null };
    expect(parseCheckpoint(formatCheckpoint(partial))).toEqual(partial);
    const replayable = {
      ...checkpoint,
      gaps: [{ fromLsn: at(0), toLsn: at(7) }],
      windowMarks: [
        { atMs: 1_790_000_000_000, throughLsn: at(7) },
        { atMs: 1_790_000_060_000, throughLsn: at(9) },
      ],
    };
    expect(parseCheckpoint(formatCheckpoint(replayable))).toEqual(replayable);
  });

  it('of a reader that knew no replay has neither gaps nor marks', () => {
    const { gaps, windowMarks, ...old } = JSON.parse(formatCheckpoint(checkpoint).toString());
    expect([gaps, windowMarks]).toEqual([[], []]);
    expect(parseCheckpoint(Buffer.from(JSON.stringify(old)))).toEqual(checkpoint);
  });

  it('of version 1 is read with the text that it knew its publication by', () => {
    const { capture, ...rest } = JSON.parse(formatCheckpoint(checkpoint).toString());
    const text = formatVersion1(capture.publication);
    const old = parseCheckpoint(Buffer.from(JSON.stringify({ ...rest, version: 1, publicationFingerprint: text })));
    expect(old).toEqual({ ...checkpoint, capture: { version1: text } });
  });

  it('is of version 2, which a reader that knows version 1 only refuses, and has nothing that it could go by', () => {
    const written = JSON.parse(formatCheckpoint(checkpoint).toString());
    expect(written).toMatchObject({ version: 2, capture: { tables: { orders: { oid: exampleOids.orders } } } });
    expect(written).not.toHaveProperty('publicationFingerprint');
  });

  it('keeps that its last order is in a replaced table only', () => {
    const replaced: Checkpoint = {
      ...checkpoint,
      lastPublished: { ...checkpoint.lastPublished!, isReplaced: true },
    };
    expect(parseCheckpoint(formatCheckpoint(replaced))).toEqual(replaced);
    expect([findWitness(checkpoint), findWitness(replaced)]).toEqual(['b', null]);
  });

  it.each([
    '',
    'null',
    '{}',
    '{"version":2}',
    '{"version":2,"capture":{}}',
    '{"version":3}',
    '{"version":1,"state":"done"}',
  ])('refuses %j', (text) => {
    expect(() => parseCheckpoint(Buffer.from(text))).toThrow(MalformedCheckpointError);
  });
});
