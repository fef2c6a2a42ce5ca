import { describe, expect, it } from 'vitest';
import { idempotencyHeaders, pageQuery } from '../../../../order-api/routes/order-schemas.ts';

describe('an idempotency key', () => {
  const accepts = (key: string) => idempotencyHeaders.safeParse({ 'idempotency-key': key }).success;

  it('is 1 to 255 visible ASCII characters', () => {
    expect(['!', '~', 'k'.repeat(255)].map(accepts)).toEqual([true, true, true]);
    expect(['', 'k'.repeat(256), 'a b', 'a\tb', 'é', 'a\x7f'].map(accepts)).toEqual(Array(6).fill(false));
  });

  it('leaves the other headers of the request alone', () => {
    expect(idempotencyHeaders.parse({ accept: '*/*' })).toEqual({ accept: '*/*' });
  });
});

describe('a page of orders', () => {
  it('has 20 orders unless 1 to 100 are asked for', () => {
    expect(pageQuery.parse({})).toEqual({ limit: 20 });
    expect(pageQuery.parse({ limit: '100' })).toEqual({ limit: 100 });
    const refused = ['0', '101', '-1', '1.5', '', 'ten', ['5', '6']];
    expect(refused.filter((limit) => pageQuery.safeParse({ limit }).success)).toEqual([]);
  });

  it('can not be asked for with a parameter that it does not know', () => {
    expect(pageQuery.safeParse({ offset: '1' }).success).toBe(false);
  });
});
