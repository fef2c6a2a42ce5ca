// What operators type, as tables of cases: what is understood, and that a bad argument is refused by its name with what
// would be valid.
import { describe, expect, it } from 'vitest';
import { formatLsn, parseLsn } from '#schemas/lsn.ts';
import {
  checkRange,
  type KnownHistory,
  parsePoint,
  parseRequest,
  parseRunId,
  type ReplayOptions,
} from '../../../../../tools/replay/cli/arguments.ts';
import { ArgumentError } from '../../../../../tools/replay/cli/errors.ts';

const nowMs = Date.parse('2026-11-20T12:00:00Z');
const orderId = '01900000-0000-7000-8000-00000000000A';

describe('the options of a replay', () => {
  it('mean repair from a position to what is applied, from the first source that covers it, unless told otherwise', () => {
    expect(parseRequest({ fromLsn: '0/16B3748' }, nowMs)).toEqual({
      mode: 'repair',
      source: 'auto',
      from: { kind: 'lsn', point: { timeline: null, commitLsn: parseLsn('0/16B3748') } },
      to: null,
      users: [],
      orderIds: [],
      dryRun: false,
      yes: false,
      ratePerSecond: null,
    });
  });

  it('are all understood', () => {
    const options: ReplayOptions = {
      fromTime: '2026-11-20T10:00Z',
      toLsn: '2:1/A',
      mode: 'reapply',
      source: 'wal',
      user: ['u1', 'u.2'],
      order: [orderId],
      dryRun: true,
      yes: true,
      rate: '2000',
    };
    expect(parseRequest(options, nowMs)).toEqual({
      mode: 'reapply',
      source: 'wal',
      from: { kind: 'time', at: BigInt(Date.parse('2026-11-20T10:00Z')) * 1000n },
      to: { timeline: 2, commitLsn: parseLsn('1/A') },
      users: ['u1', 'u.2'],
      orderIds: [orderId.toLowerCase()],
      dryRun: true,
      yes: true,
      ratePerSecond: 2_000,
    });
    expect(parseRequest({ source: 'tables' }, nowMs)).toMatchObject({ source: 'tables', from: null });
    expect(parseRequest({ source: 'tables', mode: 'reapply' }, nowMs)).toMatchObject({ mode: 'reapply', from: null });
  });

  const from = { fromLsn: '0/1' };
  it.each<[string, ReplayOptions, string, RegExp]>([
    ['no beginning', {}, '--from-lsn', /--from-time, or use --source tables/],
    ['a position without its slash', { fromLsn: '16B3748' }, '--from-lsn', /X\/Y in hex/],
    ['a position that is no number', { fromLsn: '0/XYZ' }, '--from-lsn', /X\/Y in hex/],
    ['an empty position', { fromLsn: '' }, '--from-lsn', /X\/Y in hex/],
    ['too large a position', { fromLsn: '0/100000000' }, '--from-lsn', /X\/Y in hex/],
    ['a timeline that is no number', { fromLsn: 'a:0/1' }, '--from-lsn', /1:0\/16B3748/],
    ['a bad end', { ...from, toLsn: 'end' }, '--to-lsn', /X\/Y in hex/],
    ['two beginnings', { ...from, fromTime: '2026-11-20T10:00Z' }, '--from-time', /not both/],
    ['a time without a zone', { fromTime: '2026-11-20T10:00' }, '--from-time', /zone/],
    ['a day that is not', { fromTime: '2026-02-30T10:00Z' }, '--from-time', /no such time/],
    ['a time to come', { fromTime: '2026-11-20T12:00:01Z' }, '--from-time', /future; .*2026-11-20T12:00:00Z/],
    ['another mode', { ...from, mode: 'again' }, '--mode', /repair, reapply/],
    ['another source', { ...from, source: 'disk' }, '--source', /auto, kafka, wal, tables/],
    ['a user that is none', { ...from, user: ['a b'] }, '--user', /1 to 64 characters/],
    ['an order that is none', { ...from, order: ['7'] }, '--order', /UUID/],
    ['a rate of nothing', { ...from, rate: '0' }, '--rate', /1 to 1000000/],
    ['a rate in words', { ...from, rate: 'fast' }, '--rate', /1 to 1000000/],
    ['a fraction of a rate', { ...from, rate: '1.5' }, '--rate', /1 to 1000000/],
    ['too high a rate', { ...from, rate: '1000001' }, '--rate', /1 to 1000000/],
    ['a position for tables', { ...from, source: 'tables' }, '--from-lsn', /no positions/],
    ['an end for tables', { toLsn: '0/1', source: 'tables' }, '--to-lsn', /no positions/],
    ['a time for tables', { fromTime: '2026-11-20T10:00Z', source: 'tables' }, '--from-time', /no positions/],
  ])('are refused with %s', (_, options, argument, valid) => {
    const refusal = catchRefusal(() => parseRequest(options, nowMs));
    expect(refusal.message).toMatch(new RegExp(`^${argument}: `));
    expect(refusal.message).toMatch(valid);
    expect(refusal.exitCode).toBe(64);
  });

  it('name a run by its UUID, in any case', () => {
    expect(parseRunId(orderId)).toBe(orderId.toLowerCase());
    expect(catchRefusal(() => parseRunId('last')).message).toMatch(/^RUN_ID: "last" .*UUID/);
  });
});

describe('the range of a replay', () => {
  const known: KnownHistory = {
    timeline: 3,
    history: [
      { timeline: 1, endsAtLsn: parseLsn('0/1000') },
      { timeline: 2, endsAtLsn: parseLsn('0/2000') },
    ],
    publishedThroughLsn: parseLsn('0/5000'),
    appliedThroughLsn: parseLsn('0/4000'),
  };
  const point = (text: string) => parsePoint('test', text);
  const judge = (from: string, to?: string) => {
    const { fromLsn, toLsn } = checkRange(point(from), to === undefined ? null : point(to), known);
    return `${formatLsn(fromLsn)} ${formatLsn(toLsn)}`;
  };

  it.each([
    ['0/3000', undefined, '0/3000 0/4000'],
    ['0/0', '0/4000', '0/0 0/4000'],
    ['1:0/FFF', '2:0/1000', '0/FFF 0/1000'],
    ['3:0/2000', undefined, '0/2000 0/4000'],
    ['0/4000', undefined, '0/4000 0/4000'],
  ])('is from %s to %s', (from, to, range) => {
    expect(judge(from, to)).toBe(range);
  });

  it.each([
    ['an end before its beginning', '0/3000', '0/2FFF', /^--from-lsn: .*before --to-lsn 0\/2FFF/],
    ['nothing in it', '0/3000', '0/3000', /^--from-lsn: .*exclusive/],
    ['a beginning in the future', '0/5001', undefined, /^--from-lsn: 0\/5001 is in the future; valid is up to 0\/4000/],
    ['an end in the future', '0/1', '0/5001', /^--to-lsn: 0\/5001 is in the future; valid is up to 0\/4000/],
    ['an end that sinks have not come to', '0/1', '0/4500', /^--to-lsn: 0\/4500 is published, but not yet applied/],
    ['a timeline that never was', '4:0/3000', undefined, /^--from-lsn: timeline 4 .*1:0\/0 to 1:0\/1000, .* 3:0\/4000/],
    ['the wrong timeline for a position', '2:0/2000', undefined, /^--from-lsn: 0\/2000 lies on timeline 3, not 2/],
  ])('is refused with %s', (_, from, to, message) => {
    expect(catchRefusal(() => judge(from, to)).message).toMatch(message);
  });
});

function catchRefusal(work: () => unknown): ArgumentError {
  try {
    work();
  } catch (error) {
    if (error instanceof ArgumentError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}
