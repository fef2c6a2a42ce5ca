// The arguments of `npm run parked`.
import { describe, expect, it, vi } from 'vitest';
import { parseParkedArguments } from '../../../../tools/parked/arguments.ts';

describe('the arguments', () => {
  it.each([
    [['list'], { command: 'list', all: false }],
    [['list', '--all'], { command: 'list', all: true }],
    [['list', '--json'], { command: 'list', all: false, json: true }],
    [['show', '7'], { command: 'show', parkedId: 7n }],
    [['retry', '7'], { command: 'retry', parkedId: 7n, yes: false, by: undefined }],
    [['retry', '7', '--yes', '--by', 'ann'], { command: 'retry', parkedId: 7n, yes: true, by: 'ann' }],
    [
      ['discard', '7', '--reason', ' a test record '],
      { command: 'discard', parkedId: 7n, yes: false, by: undefined, reason: 'a test record' },
    ],
  ])('%s are understood', (argv, expected) => {
    expect(parseParkedArguments(argv)).toEqual({ json: false, ...expected });
  });

  it.each([
    [[], 'Usage'],
    [['drop', '7'], 'drop'],
    [['list', '7'], 'too many arguments'],
    [['show'], 'ID'],
    [['show', '0'], 'as `list` shows it'],
    [['retry', 'x'], 'as `list` shows it'],
    [['retry', '7', '--reason', 'x'], '--reason'],
    [['discard', '7'], '--reason'],
    [['discard', '7', '--reason', ' '], '--reason'],
    [['discard', '7', '--reason', 'two\nlines'], '--reason'],
  ])('refuses %j by name', (argv, named) => {
    const written: string[] = [];
    const stderr = vi.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text)) > 0);
    try {
      expect(() => parseParkedArguments(argv)).toThrow();
    } finally {
      stderr.mockRestore();
    }
    expect(written.join('')).toContain(named);
  });
});
