import { describe, expect, it } from 'vitest';
import { isVisible, olderThan } from '../../../../cart-sink/rule/snapshot-visibility.ts';

describe('a snapshot', () => {
  it('sees what had ended before it, and nothing later or still running', () => {
    const seen = (xid: string) => isVisible(xid, '100:105:101,103');
    expect(['99', '100', '101', '102', '103', '104', '105', '106'].filter(seen)).toEqual(['99', '100', '102', '104']);
    expect(isVisible('9007199254740993', '9007199254740993:9007199254740993:')).toBe(false);
    expect(isVisible('9007199254740992', '9007199254740993:9007199254740993:')).toBe(true);
  });

  it('is refused in another form', () => {
    expect(() => isVisible('1', '100:105')).toThrow('pg_snapshot');
    expect(olderThan('100:105:101')).toBe('99');
  });
});
