import { describe, expect, it } from 'vitest';
import { parseFindArguments } from '../../../../tools/find/arguments.ts';

const id = '0197B7C2-0000-7000-8000-000000000001';

describe('the arguments of find', () => {
  it('name an order, a user or a position', () => {
    expect(parseFindArguments([id])).toEqual({ wanted: { kind: 'order', orderId: id.toLowerCase() }, json: false });
    expect(parseFindArguments(['--user', 'ada', '--json'])).toEqual({
      wanted: { kind: 'user', userId: 'ada' },
      json: true,
    });
    expect(parseFindArguments(['--lsn', '0/1A']).wanted).toEqual({ kind: 'lsn', commitLsn: 26n });
  });

  it.each([[[]], [[id, '--user', 'ada']], [['x']], [['--lsn', '12']], [['--user', 'a b']], [[id, id]]])(
    'refuse %j',
    (argv) => {
      expect(() => parseFindArguments(argv)).toThrow();
    },
  );
});
