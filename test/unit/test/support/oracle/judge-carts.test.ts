// What carts may look like although every order was applied once, and what they may not.

import { describe, expect, test } from 'vitest';
import { alice, bob, uuid, verdictAfter, type World } from '../../../../support/examples/oracle-world.ts';
import { cartKey } from '../../../../support/oracle/cart-model.ts';
import { assertClean } from '../../../../support/oracle/verdict.ts';

describe('the oracle does not convict when', () => {
  test('goods were added while orders ran and it is unknown which came first', () => {
    const early = ({ facts, history }: World) => {
      history.additions.push({ lineId: uuid(104), userId: alice, sku: 'pear', quantity: 3 });
      facts.carts.lines.push({ lineId: uuid(104), userId: alice, sku: 'pear', quantity: 3 });
    };
    const verdict = verdictAfter(early);
    assertClean(verdict);
    expect(verdict.counts['items undetermined']).toBe(1);
    const lost = verdictAfter((world) => {
      early(world);
      world.facts.carts.lines.at(-1)!.quantity = 2;
    });
    expect(lost.invariants.I3.first.join()).toMatch(/holds 2 instead of 3/);
  });

  test('goods were added between two orders, the first of which would have taken them all', () => {
    const between = ({ facts, history }: World) => {
      history.opening = history.opening.filter(({ lineId }) => lineId !== uuid(101));
      facts.carts.removals = facts.carts.removals.filter(({ sku, orderId }) => orderId !== uuid(1) || sku !== 'apple');
      facts.carts.lines[0]!.quantity = 1;
    };
    assertClean(verdictAfter(between));
    const lost = verdictAfter((world) => {
      between(world);
      world.facts.carts.lines.shift();
    });
    expect(lost.invariants.I3.first.join()).toMatch(/holds 0 instead of 1/);
  });

  test('goods were added without an answer, and nobody knows the id of their line', () => {
    const unanswered = ({ facts, history }: World) => {
      history.additions = [];
      history.opening.shift();
      facts.carts.lines.shift();
      history.edited = new Set([cartKey(alice, 'apple')]);
    };
    assertClean(verdictAfter(unanswered));
    const elsewhere = verdictAfter((world) => {
      unanswered(world);
      world.history.edited = new Set([cartKey(bob, 'apple')]);
    });
    expect(elsewhere.invariants.I3.first.join()).toMatch(/which never was/);
  });

  test('a user edited a line while orders ran', () => {
    const verdict = verdictAfter(({ facts, history }) => {
      history.edited = new Set([cartKey(alice, 'apple')]);
      facts.carts.lines[0]!.quantity = 3;
    });
    assertClean(verdict);
  });
});
