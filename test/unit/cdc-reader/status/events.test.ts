// What has happened, of all services together, and what only shows from outside; who owns which partitions.
import { describe, expect, it } from 'vitest';
import { collectEvents, findChanges } from '../../../../cdc-reader/status/events.ts';
import { describeOwned } from '../../../../cdc-reader/status/owners.ts';
import { parsePrometheusText } from '../../../../cdc-reader/status/prometheus-text.ts';
import type { ServiceReading } from '../../../../cdc-reader/status/read-service.ts';

const at = (second: number) => new Date(Date.UTC(2026, 10, 28, 12, 0, second)).toISOString();

function reading(kind: ServiceReading['kind'], events: readonly (readonly [second: number, event: string])[]) {
  const recent = {
    startedAt: at(0),
    events: events.map(([second, event]) => ({ at: at(second), event, text: event, why: null })),
  };
  const none = { answer: undefined, problem: undefined, carts: undefined, cartsProblem: undefined };
  return { kind, url: `http://${kind}`, atMs: 0, recent, ...none } satisfies ServiceReading;
}

describe('the events of the last day', () => {
  it('are those of all services and of the pipeline, newest first, without what is for the log', () => {
    const noted = findChanges(overview(), overview({ at: at(4), kind: 'halted', title: 'cdc-reader is halted: X' }));
    const round = [
      reading('cdc-reader', [
        [1, 'reader.streaming'],
        [6, 'kafka.client'],
      ]),
      reading('cart-sink', [
        [2, 'sink.parked'],
        [5, 'sink.assigned'],
      ]),
      { ...reading('order-api', []), recent: undefined },
    ];
    expect(collectEvents(round, noted).map(({ of, text, isAboutRunning }) => [of, text, isAboutRunning])).toEqual([
      ['cart-sink', 'sink.assigned', true],
      ['pipeline', 'cdc-reader is halted: X', false],
      ['cart-sink', 'sink.parked', false],
      ['cdc-reader', 'reader.streaming', true],
    ]);
  });

  it('are bounded', () => {
    const many = Array.from({ length: 200 }, (_, second) => [second, 'sink.assigned'] as const);
    expect(collectEvents([reading('cart-sink', many)], [])).toHaveLength(100);
  });
});

function overview({ at: when = at(0), kind = 'idle', title = 'idle', state = 'working', walStatus = 'reserved' } = {}) {
  return {
    at: when,
    verdict: { kind, title, detail: null },
    services: [{ kind: 'cart-sink' as const, url: 'http://s', state: state === 'away' ? null : state }],
    safety: { slots: [{ slot: 'live', walStatus }] },
  };
}

describe('changes', () => {
  it.each<[what: string, before: object, after: object, found: string[]]>([
    ['none', {}, {}, []],
    ['the verdict', {}, { kind: 'stalled', title: 'stalled' }, ['stalled']],
    ['only the time left', { title: 'catching up (about 9 s left)' }, { title: 'catching up (about 8 s left)' }, []],
    ['a service that goes', {}, { state: 'away' }, ['cart-sink http://s: working → away']],
    ['a service that comes', { state: 'away' }, { state: 'working' }, ['cart-sink http://s: away → working']],
    ['a slot', {}, { walStatus: 'lost' }, ['slot live: reserved → lost']],
  ])('are %s', (_what, before, after, found) => {
    expect(findChanges(overview(before), overview(after)).map(({ text }) => text)).toEqual(found);
  });

  it('are none at the first reading', () => {
    expect(findChanges(undefined, overview({ state: 'away' }))).toEqual([]);
  });
});

describe('the partitions of a sink', () => {
  const owning = (partitions: readonly number[], assigned = partitions.length) =>
    parsePrometheusText(
      [
        `tillstream_sink_assigned_partitions ${assigned}`,
        ...partitions.map((one) => `tillstream_sink_next_offset{topic="orders.placed",partition="${one}"} 5`),
      ].join('\n'),
    );
  const carts = (epochs: readonly number[]) =>
    ({
      partitions: epochs.map((ownerEpoch, partition) => ({
        topic: 'orders.placed',
        partition,
        nextOffset: '5',
        ownerEpoch: String(ownerEpoch),
        position: null,
        updatedAt: at(0),
      })),
    }) as never;

  it.each<[owned: number[], epochs: number[], partitions: string, ownerEpochs: string]>([
    [[0, 1, 2, 3, 4, 5], [3, 3, 3, 3, 3, 3], '0-5', '3'],
    [[2, 0, 5, 1], [3, 4, 9, 0, 0, 12], '0-2, 5', '3-12'],
    [[1], [3, 7], '1', '7'],
  ])('%j with the epochs %j', (owned, epochs, partitions, ownerEpochs) => {
    expect(describeOwned(owning(owned), carts(epochs))).toEqual([{ topic: 'orders.placed', partitions, ownerEpochs }]);
  });

  it('have no epoch while the carts side was not read, and are none after a halt', () => {
    expect(describeOwned(owning([0]), undefined)).toEqual([
      { topic: 'orders.placed', partitions: '0', ownerEpochs: null },
    ]);
    expect(describeOwned(owning([0, 1], 0), carts([1, 1]))).toEqual([]);
  });
});
