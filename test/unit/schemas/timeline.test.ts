// On which timeline a commit lies, by history files as Postgres writes them.
import { describe, expect, it } from 'vitest';
import { parseLsn } from '#schemas/lsn.ts';
import { isInHistory, parseTimelineHistory, timelineOf } from '#schemas/timeline.ts';

/** As Postgres writes it: a line for each ancestor, and the reason in words. */
const file = '1\t0/3000090\tno recovery target specified\n\n2\t0/50001C8\tat restore point "before: 3 0/1"\n';
const history = parseTimelineHistory(file);

describe('a timeline history', () => {
  it('is read with its comments, empty lines, spaces and Windows line ends', () => {
    expect(history).toEqual([
      { timeline: 1, endsAtLsn: parseLsn('0/3000090') },
      { timeline: 2, endsAtLsn: parseLsn('0/50001C8') },
    ]);
    expect(parseTimelineHistory(Buffer.from(`# comment\r\n  \r\n  1 0/3000090\r\n`))).toEqual([history[0]]);
  });

  it('may be empty, as that of timeline 1', () => {
    expect(parseTimelineHistory('')).toEqual([]);
  });

  it('may have two ancestors that end at the same point', () => {
    expect(parseTimelineHistory('1\t0/30\tx\n2\t0/30\ty\n')).toHaveLength(2);
  });

  it.each(['one\t0/30', '1', '1\t030', '1\t0/30zz', '\\x31'])('is refused with the line %j', (line) => {
    expect(() => parseTimelineHistory(line)).toThrow('Line 1');
  });

  it('is refused when its lines are out of order', () => {
    expect(() => parseTimelineHistory('2\t0/30\n1\t0/40')).toThrow('Line 2');
    expect(() => parseTimelineHistory('1\t0/30\n2\t0/20')).toThrow('Line 2');
  });
});

describe('a commit', () => {
  it.each([
    ['0/10', 1],
    ['0/300008F', 1],
    ['0/3000090', 2], // the switch point is where the new timeline begins
    ['0/50001C7', 2],
    ['0/50001C8', 3],
    ['FF/0', 3],
  ])('at %s lies on timeline %i', (commitLsn, timeline) => {
    expect(timelineOf(parseLsn(commitLsn), 3, history)).toBe(timeline);
  });

  it('lies on the current timeline when that has no ancestors', () => {
    expect(timelineOf(parseLsn('0/0'), 1, [])).toBe(1);
  });
});

describe('a timeline', () => {
  it('is in the history when it is the current one or an ancestor', () => {
    expect([1, 2, 3, 4].map((timeline) => isInHistory(timeline, 3, history))).toEqual([true, true, true, false]);
  });
});
