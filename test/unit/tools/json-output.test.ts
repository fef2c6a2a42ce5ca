import { expect, it } from 'vitest';
import { createCommandOutput } from '../../../tools/json-output.ts';

function run(json: boolean, result?: Record<string, unknown>) {
  const written = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr') => ({ write: (text: string) => (written[name] += text) });
  const output = createCommandOutput({ stdout: stream('stdout'), stderr: stream('stderr') }, json);
  output.print('one');
  output.print('two');
  output.end(result);
  return written;
}

it('prints lines for people, and with --json one object for programs instead', () => {
  expect(run(false, { a: 1 })).toEqual({ stdout: 'one\ntwo\n', stderr: '' });
  expect(run(true)).toEqual({ stdout: '{"messages":["one","two"]}\n', stderr: 'one\ntwo\n' });
  const result = { count: 2n ** 63n, at: new Date(0), kinds: new Map([['a', 1]]) };
  expect(run(true, result).stdout).toBe(
    '{"count":"9223372036854775808","at":"1970-01-01T00:00:00.000Z","kinds":{"a":1}}\n',
  );
});
