import { describe, expect, it } from 'vitest';
import { parseDemoArguments } from '../../../../dev/demo/arguments.ts';
import { announce, demoFaults } from '../../../../dev/demo/faults.ts';

const parse = (...argv: string[]) => parseDemoArguments(argv, true);

describe('the arguments of the demo', () => {
  it('have defaults: 50 orders a second, every fault, one each 20 s, until Ctrl-C', () => {
    expect(parse('--seed', '7')).toEqual({
      seed: 7,
      rate: 50,
      seconds: undefined,
      everySeconds: 20,
      faults: demoFaults,
    });
  });

  it.each([
    { argv: ['--faults', 'none'], expected: { faults: [] } },
    { argv: ['--faults', 'reader-kill, sink-pause'], expected: { faults: ['reader-kill', 'sink-pause'] } },
    {
      argv: ['--rate', '200', '--seconds', '60', '--every', '5'],
      expected: { rate: 200, seconds: 60, everySeconds: 5 },
    },
  ])('$argv are taken', ({ argv, expected }) => {
    expect(parse(...argv)).toMatchObject(expected);
  });

  it.each([
    [['--rate', '0'], 'Expected a whole number from 1 to 1000'],
    [['--rate', 'fast'], 'Expected a whole number'],
    [['--seconds', '-1'], 'Expected a whole number'],
    [['--faults', 'reader-kil'], 'Expected none, or some of reader-kill'],
    [['more'], 'too many arguments'],
  ])('%j are refused', (argv, message) => {
    expect(() => parse(...argv)).toThrow(message);
  });

  it('name faults that are each announced', () => {
    expect(new Set(demoFaults.map(announce)).size).toBe(demoFaults.length);
  });
});
