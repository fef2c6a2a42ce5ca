// The window of WAL for replays: what is decided for its slot, its marks in the checkpoint, and the keeper that acts.
import { setTimeout as delay } from 'node:timers/promises';
import pino from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import type { Checkpoint, WindowMark } from '#schemas/checkpoint.ts';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { createReaderMetrics } from '../../../../cdc-reader/metrics.ts';
import { startCoverageSampler } from '../../../../cdc-reader/replay-window/upkeep.ts';
import { startWindowKeeper } from '../../../../cdc-reader/replay-window/window-keeper.ts';
import {
  addWindowMark,
  chooseWindowStep,
  nextCheckMs,
  pinnedBytes,
  type WindowFacts,
  type WindowSlot,
  windowAgeMs,
} from '../../../../cdc-reader/replay-window/window-policy.ts';
import type { WindowSlotSession } from '../../../../cdc-reader/replay-window/window-slot.ts';
import { parseMetrics } from '../../../support/process/prometheus-text.ts';
import { waitFor } from '../../../support/wait.ts';

const at = (value: number): Lsn => toLsn(BigInt(value));
const mark = (atMs: number, through: number): WindowMark => ({ atMs, throughLsn: at(through) });
const limits = { bytes: 1_000, ms: 60_000 };

function slotAt(restart: number, confirmed: number, change: Partial<WindowSlot> = {}): WindowSlot {
  return {
    restartLsn: at(restart),
    confirmedFlushLsn: at(confirmed),
    isLost: false,
    lostReason: null,
    isForeign: false,
    ...change,
  };
}

describe('the step for the window slot', () => {
  const decide = (
    facts: Partial<WindowFacts>,
    more: Partial<Omit<Parameters<typeof chooseWindowStep>[0], 'facts'>> = {},
  ) =>
    chooseWindowStep({
      facts: { slot: slotAt(5_000, 5_000), liveRestartLsn: at(5_900), flushLsn: at(6_000), ...facts },
      limits,
      marks: [],
      throughLsn: at(6_000),
      nowMs: 100_000,
      advances: 0,
      ...more,
    });
  const advance = (to: number) => ({ kind: 'advance', toLsn: at(to) });
  const recreate = (reason: string) => ({ kind: 'recreate', reason });

  it.each([
    ['creates one that is not there', decide({ slot: null }), { kind: 'create' }],
    ['makes a lost one anew', decide({ slot: slotAt(5_000, 5_000, { isLost: true }) }), recreate('lost')],
    [
      'names Postgres’s reason for a lost one',
      decide({ slot: slotAt(5_000, 5_000, { isLost: true, lostReason: 'idle_timeout' }) }),
      recreate('idle_timeout'),
    ],
    [
      'makes one anew that never got a position',
      decide({ slot: slotAt(5_000, 5_000, { confirmedFlushLsn: null }) }),
      recreate('lost'),
    ],
    ['is none while little is kept', decide({ slot: slotAt(5_250, 5_300) }), { kind: 'nothing' }],
    [
      'is an advance to the half of the limit from three quarters on',
      decide({ slot: slotAt(5_249, 5_300) }),
      advance(5_500),
    ],
    [
      'is never an advance beyond what is published',
      decide({ slot: slotAt(5_000, 5_000) }, { throughLsn: at(5_200) }),
      advance(5_200),
    ],
    [
      'is none where all that is published has been let go of',
      decide({ slot: slotAt(5_000, 5_200), liveRestartLsn: at(5_000) }, { throughLsn: at(5_200) }),
      { kind: 'nothing' },
    ],
    ['is no third advance in one look', decide({ slot: slotAt(5_100, 5_400) }, { advances: 2 }), { kind: 'nothing' }],
    [
      'looks again for a restart point when only it keeps too much',
      decide({ slot: slotAt(4_000, 5_900) }),
      advance(5_900),
    ],
    [
      'is calm up to seven eighths of the limit',
      decide({ slot: slotAt(5_025, 5_500) }, { advances: 2 }),
      { kind: 'nothing' },
    ],
    [
      'empties the window from there on, before the limit is reached',
      decide({ slot: slotAt(5_024, 5_500) }, { advances: 2 }),
      advance(6_000),
    ],
    [
      'empties the window when two advances have not helped',
      decide({ slot: slotAt(4_000, 5_500) }, { advances: 2 }),
      advance(6_000),
    ],
    [
      'makes it anew when even that has not helped',
      decide({ slot: slotAt(4_000, 6_000) }, { advances: 3 }),
      recreate('over-limit'),
    ],
    [
      'never goes back to what is published',
      decide({ slot: slotAt(4_000, 5_800) }, { advances: 2, throughLsn: at(5_700) }),
      advance(5_800),
    ],
    [
      'leaves what the live slot keeps as well',
      decide({ slot: slotAt(1_000, 5_500), liveRestartLsn: at(1_000) }, { advances: 3 }),
      { kind: 'nothing' },
    ],
    [
      'counts against it what no live slot keeps',
      decide({ slot: slotAt(4_000, 5_500), liveRestartLsn: null }, { advances: 3 }),
      recreate('over-limit'),
    ],
    ['drops it when it is switched off', decide({}, { limits: { bytes: 0, ms: 1 } }), { kind: 'drop' }],
    [
      'drops a lost one too',
      decide({ slot: slotAt(1, 1, { isLost: true }) }, { limits: { bytes: 0, ms: 1 } }),
      { kind: 'drop' },
    ],
    [
      'is none when it is switched off and gone',
      decide({ slot: null }, { limits: { bytes: 0, ms: 1 } }),
      { kind: 'nothing' },
    ],
    [
      "refuses somebody else's",
      decide({ slot: slotAt(1, 1, { isForeign: true }) }),
      { kind: 'refuse', why: 'foreign' },
    ],
    [
      "does not drop somebody else's",
      decide({ slot: slotAt(1, 1, { isForeign: true }) }, { limits: { bytes: 0, ms: 1 } }),
      { kind: 'nothing' },
    ],
    [
      'is an advance to the newest mark that is too old',
      decide({ slot: slotAt(5_300, 5_300) }, { marks: [mark(1, 5_310), mark(40_000, 5_320), mark(40_001, 5_330)] }),
      advance(5_320),
    ],
    ['takes the tighter of both bounds', decide({}, { marks: [mark(1, 5_100)] }), advance(5_500)],
    [
      'is none when the slot has passed the mark already',
      decide({ slot: slotAt(5_300, 5_300) }, { marks: [mark(1, 5_300)] }),
      { kind: 'nothing' },
    ],
    [
      'makes room at the very beginning of the log',
      decide({ slot: slotAt(1, 1), flushLsn: at(900), liveRestartLsn: at(800) }, { throughLsn: at(900) }),
      advance(400),
    ],
  ])('%s', (_, step, expected) => expect(step).toEqual(expected));

  it('counts as pinned only what the live slot would let go of', () => {
    const flushLsn = at(6_000);
    expect(pinnedBytes({ slot: slotAt(4_000, 5_000), liveRestartLsn: at(5_500), flushLsn })).toBe(1_500);
    expect(pinnedBytes({ slot: slotAt(4_000, 5_000), liveRestartLsn: at(3_000), flushLsn })).toBe(0);
    expect(pinnedBytes({ slot: slotAt(4_000, 5_000), liveRestartLsn: null, flushLsn })).toBe(2_000);
    expect(pinnedBytes({ slot: null, liveRestartLsn: at(3_000), flushLsn })).toBe(0);
  });

  it('looks again before a sixteenth of the limit is written, between a tenth and a half of a second', () => {
    expect(nextCheckMs({ bytes: 16_000, ms: 1 }, { bytes: 4_000, ms: 1_000 })).toBe(250);
    expect(nextCheckMs({ bytes: 16_000, ms: 1 }, { bytes: 2_000_000, ms: 1_000 })).toBe(100);
    expect(nextCheckMs({ bytes: 16_000, ms: 1 }, { bytes: 1, ms: 1_000 })).toBe(500);
    expect(nextCheckMs({ bytes: 16_000, ms: 1 }, { bytes: 0, ms: 0 })).toBe(500);
  });
});

describe('the marks of the window', () => {
  const minute = { bytes: 1, ms: 16_000 };

  it('are a sixteenth of its time apart, and one of them lies before it', () => {
    let marks: readonly WindowMark[] = [];
    for (let ms = 0; ms <= 100_000; ms += 10) marks = addWindowMark(marks, mark(ms, 1_000 + ms), minute);
    expect(marks.map(({ atMs }) => atMs)).toEqual(Array.from({ length: 17 }, (_, i) => 84_000 + i * 1_000));
    expect(marks.every(({ atMs, throughLsn }) => throughLsn === at(1_000 + atMs))).toBe(true);
  });

  it('are the very same array while none is due', () => {
    const marks = [mark(1_000, 5)];
    expect(addWindowMark(marks, mark(1_999, 6), minute)).toBe(marks);
    expect(addWindowMark(marks, mark(2_000, 6), minute)).toEqual([...marks, mark(2_000, 6)]);
  });

  it('keep the newest from before a long silence', () => {
    const marks = [mark(1_000, 5), mark(2_000, 6)];
    expect(addWindowMark(marks, mark(90_000, 7), minute)).toEqual([mark(2_000, 6), mark(90_000, 7)]);
  });

  it('of the future are forgotten after a clock was set back, and those beyond what is published after it was cut back', () => {
    expect(addWindowMark([mark(1_000, 5), mark(9_000_000, 6)], mark(3_000, 7), minute)).toEqual([
      mark(1_000, 5),
      mark(3_000, 7),
    ]);
    expect(addWindowMark([mark(1_000, 5), mark(2_000, 9)], mark(2_500, 7), minute)).toEqual([
      mark(1_000, 5),
      mark(2_500, 7),
    ]);
  });

  it('are few, also when its time was made longer, and none while there is no window', () => {
    const many = Array.from({ length: 32 }, (_, n) => mark(n * 1_000, n));
    const marks = addWindowMark(many, mark(500_000, 1_000), { bytes: 1, ms: 1_600_000 });
    expect(marks).toEqual([...many.slice(1), mark(500_000, 1_000)]);
    expect(addWindowMark(marks, mark(2e6, 2_000), { bytes: 0, ms: 16 })).toEqual([]);
  });

  it('tell how long ago a position was published, by the share of WAL between two', () => {
    const known = { marks: [mark(1_000, 100), mark(2_000, 200)], throughLsn: at(300), nowMs: 5_000 };
    expect(windowAgeMs(at(100), known)).toBe(4_000);
    expect(windowAgeMs(at(150), known)).toBe(3_500);
    expect(windowAgeMs(at(250), known)).toBe(1_500);
    expect(windowAgeMs(at(300), known)).toBe(0);
    expect(windowAgeMs(at(400), known)).toBe(0);
    expect(windowAgeMs(at(50), known)).toBe(4_000);
  });
});

describe('the keeper of the window', () => {
  const keepers: { close(): Promise<void> }[] = [];
  afterEach(() => Promise.all(keepers.map((keeper) => keeper.close())));

  function keep(options: {
    facts?: Partial<WindowFacts> & { mayLogRestartPoint?: boolean };
    marks?: readonly WindowMark[];
    bytes?: number;
    open?: () => Promise<WindowSlotSession>;
  }) {
    const facts = {
      slot: null,
      liveRestartLsn: at(5_900),
      flushLsn: at(6_000),
      mayLogRestartPoint: true,
      ...options.facts,
    };
    const calls: string[] = [];
    const failing = new Map<string, Error>();
    const call = async (name: string, effect: () => void = () => undefined) => {
      const error = failing.get(name);
      calls.push(error === undefined ? name : `${name} failed`);
      if (error !== undefined) throw error;
      effect();
    };
    const session: WindowSlotSession = {
      readFacts: async () => {
        await call('look');
        return { ...facts };
      },
      create: () => call('create', () => (facts.slot = slotAt(Number(facts.flushLsn), Number(facts.flushLsn)))),
      drop: () => call('drop', () => (facts.slot = null)),
      advance: (toLsn) => call(`advance to ${toLsn}`, () => (facts.slot = slotAt(Number(toLsn), Number(toLsn)))),
      logRestartPoint: () => call('restart point'),
      close: () => call('close'),
    };
    const logged: Record<string, unknown>[] = [];
    const logger = pino({ level: 'info' }, { write: (line: string) => void logged.push(JSON.parse(line)) });
    const metrics = createMetrics('test');
    const checkpoint = { windowMarks: options.marks ?? [], throughLsn: at(6_000) } as unknown as Checkpoint;
    const keeper = startWindowKeeper({
      open: options.open ?? (() => call('open').then(() => session)),
      limits: { bytes: options.bytes ?? 1_000, ms: 60_000 },
      windowSlotName: 'shop_window',
      checkpoint: () => checkpoint,
      metrics: createReaderMetrics(metrics),
      logger,
      nowMs: () => 100_000,
      afterFailureMs: 20,
    });
    keepers.push(keeper);
    const metric = async (name: string) => parseMetrics(await metrics.render()).get(`tillstream_reader_replay_${name}`);
    return { keeper, facts, calls, failing, logged, metric };
  }

  it('creates the slot, tells what it covers, and counts no loss', async () => {
    const stage = keep({});
    await waitFor('the metric', async () => (await stage.metric('oldest_lsn{source="wal"}')) === 6_000);
    expect(stage.calls.slice(0, 4)).toEqual(['open', 'look', 'create', 'look']);
    expect(await stage.metric('window_lost_total{reason="missing"}')).toBeUndefined();
    expect(stage.logged).toMatchObject([{ event: 'reader.replay-window', step: 'create', slot: 'shop_window' }]);
  });

  it('counts a slot as lost that is gone although there was a window before this start', async () => {
    const stage = keep({ marks: [mark(99_000, 5_000)] });
    await waitFor('the loss', async () => (await stage.metric('window_lost_total{reason="missing"}')) === 1);
    expect(stage.calls).toContain('create');
  });

  it('makes a lost slot anew and counts it', async () => {
    const stage = keep({ facts: { slot: slotAt(5_900, 5_900, { isLost: true }) } });
    await waitFor('the loss', async () => (await stage.metric('window_lost_total{reason="lost"}')) === 1);
    expect(stage.calls.slice(1, 5)).toEqual(['look', 'drop', 'create', 'look']);
  });

  it('advances it, and tells bytes and seconds of what is left', async () => {
    const stage = keep({ facts: { slot: slotAt(5_000, 5_000) }, marks: [mark(90_000, 5_000)] });
    await waitFor('the metric', async () => (await stage.metric('window_bytes')) === 500);
    expect(stage.calls.slice(1, 4)).toEqual(['look', 'advance to 5500', 'look']);
    expect(await stage.metric('window_seconds')).toBe(5);
  });

  it('asks for restart points as WAL is written, where it may', async () => {
    for (const mayLogRestartPoint of [true, false]) {
      const stage = keep({ facts: { slot: slotAt(5_900, 5_900), mayLogRestartPoint } });
      await waitFor('a look', () => stage.calls.includes('look'));
      expect(stage.calls).not.toContain('restart point');
      stage.facts.flushLsn = at(6_070);
      const looks = stage.calls.length;
      await waitFor('another look', () => stage.calls.length > looks, { deadlineMs: 4_000 });
      await delay(20);
      expect(stage.calls.includes('restart point')).toBe(mayLogRestartPoint);
    }
  });

  it('drops the slot once and is done when there shall be no window', async () => {
    const stage = keep({ facts: { slot: slotAt(5_900, 5_900) }, bytes: 0 });
    await waitFor('the end', () => stage.calls.includes('close'));
    expect(stage.calls).toEqual(['open', 'look', 'drop', 'look', 'close']);
    expect(await stage.metric('oldest_lsn{source="wal"}')).toBeUndefined();
  });

  it('tells a failure once until it is another one, counts each, and goes on in a new session', async () => {
    const full = Object.assign(new Error('all replication slots are in use'), { code: '53400' });
    const stage = keep({});
    stage.failing.set('create', full);
    await waitFor(
      'three failures',
      async () => ((await stage.metric('window_failures_total{reason="53400"}')) ?? 0) >= 3,
    );
    expect(stage.logged).toMatchObject([
      { event: 'reader.replay-window-failed', msg: expect.stringContaining('max_replication_slots') },
    ]);
    expect(stage.calls.slice(0, 5)).toEqual(['open', 'look', 'create failed', 'close', 'open']);
    stage.failing.set('create', Object.assign(new Error('out of disk'), { code: '53100' }));
    await waitFor('the other one', () => stage.logged.length === 2);
    stage.failing.clear();
    await waitFor('the slot', () => stage.logged.length === 3);
    expect(stage.logged[2]).toMatchObject({ event: 'reader.replay-window', step: 'create' });
  });

  it('leaves a slot alone that is not its own, and says so', async () => {
    const stage = keep({ facts: { slot: slotAt(5_900, 5_900, { isForeign: true }) } });
    await waitFor('the failure', () => stage.logged.length > 0);
    expect(stage.logged[0]).toMatchObject({ err: { code: 'WINDOW_SLOT_FOREIGN' } });
    expect(stage.calls).not.toContain('drop');
  });

  it('lets go at once when it is closed, also of a session that opens only then, and does nothing more', async () => {
    const stage = keep({});
    await waitFor('the slot', () => stage.calls.includes('create'));
    await stage.keeper.close();
    const calls = [...stage.calls];
    expect(calls.at(-1)).toBe('close');
    await delay(50);
    expect(stage.calls).toEqual(calls);

    const opening = Promise.withResolvers<WindowSlotSession>();
    const lateCalls: string[] = [];
    const late = keep({ open: () => opening.promise });
    await late.keeper.close();
    const note = (name: string) => async () => void lateCalls.push(name);
    opening.resolve({ close: note('close'), readFacts: note('look') } as unknown as WindowSlotSession);
    await waitFor('the late session to be closed', () => lateCalls.length > 0);
    expect(lateCalls).toEqual(['close']);
  });
});

describe('what can be replayed from Kafka', () => {
  it('is told again and again, from the last gap on, whatever fails in between', async () => {
    const metrics = createMetrics('test');
    let offsets = { earliest: 0n, lastStable: 5n, highWatermark: 6n };
    let failure: Error | undefined = new Error('Kafka is away');
    let gaps = [{ fromLsn: at(0), toLsn: at(300) }];
    const sampler = startCoverageSampler({
      log: {
        async readOffsets() {
          if (failure !== undefined) throw failure;
          return new Map([[0, offsets]]);
        },
        async *readRecords() {},
      },
      topic: 'orders',
      checkpoint: () => ({ partitions: 1, nextOffsets: [5n], throughLsn: at(1_000), gaps }) as unknown as Checkpoint,
      metrics: createReaderMetrics(metrics),
      logger: createLogger('test', 'silent'),
      everyMs: 5,
    });
    const told = async () =>
      parseMetrics(await metrics.render()).get('tillstream_reader_replay_oldest_lsn{source="kafka"}');
    await delay(20);
    expect(await told()).toBeUndefined();
    failure = undefined;
    await waitFor('the last gap', async () => (await told()) === 300);
    gaps = [];
    await waitFor('all', async () => (await told()) === 0);
    gaps = [{ fromLsn: at(500), toLsn: at(1_000) }];
    await waitFor('nothing before a gap that reaches up to now', async () => (await told()) === 1_000);
    gaps = [];
    await waitFor('all again', async () => (await told()) === 0);
    offsets = { earliest: 6n, lastStable: 6n, highWatermark: 6n };
    await waitFor('nothing before now', async () => (await told()) === 1_000);
    offsets = { earliest: 0n, lastStable: 1n, highWatermark: 1n };
    await waitFor('nothing for sure', async () => (await told()) === undefined);
    sampler.close();
  });
});
