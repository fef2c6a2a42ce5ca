// The messages of halts name the command that ends them.
import { describe, expect, it } from 'vitest';
import { RecordsLostError, SinkDefectError, UnknownEventSchemaError } from '../../../cart-sink/errors.ts';
import { parseAdoptArguments } from '../../../tools/adopt/arguments.ts';

const record = { topic: 'orders.placed', partition: 3, offset: 1207n };

describe('a halt of one partition', () => {
  it.each([
    new UnknownEventSchemaError(record, new Error('no schema')),
    new SinkDefectError(record, new Error('a defect')),
  ])('for $code names the command that parks the record, as adopt takes it', ({ message }) => {
    const [, argument] = /`npm run adopt -- sink --park '([^']+)'`/.exec(message)!;
    expect(parseAdoptArguments(['sink', '--park', argument!])).toMatchObject({
      park: { place: { topic: 'orders.placed', partition: 3 }, offset: 1207n },
    });
  });

  it('for records that are gone names the command that moves the offset', () => {
    const lost = { topic: 'orders.placed', partition: 3, expected: 5n, earliest: 9n, lastCommitLsn: null };
    expect(new RecordsLostError(lost).message).toContain('`npm run adopt -- sink`');
  });
});
