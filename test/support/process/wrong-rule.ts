/**
 * Preloaded into a cart sink (`node --import ./test/support/process/wrong-rule.ts …`): the sink then takes double of what was
 * ordered, as far as it is there, and its rule has version 0. It reads the quantity wrongly, so what it records as
 * ordered is double as well. Fails at start when the rule's source text has changed, rather than run the right rule.
 */
import { registerHooks } from 'node:module';

export const WRONG_RULE_VERSION = 0;

const REPLACED = [
  ['export const RULE_VERSION = 1;', `export const RULE_VERSION = ${WRONG_RULE_VERSION};`],
  [
    'const { lineNo, sku, quantity: ordered } = item;',
    'const { lineNo, sku } = item; const ordered = 2 * item.quantity;',
  ],
] as const;

/** The source text of cart-sink/rule/reduce-cart.ts, made wrong. Throws unless it has every place to be replaced, once. */
function distortRule(source: string): string {
  return REPLACED.reduce((text, [right, wrong]) => {
    if (text.split(right).length !== 2) throw new Error(`cart-sink/rule/reduce-cart.ts no longer reads: ${right}`);
    return text.replace(right, wrong);
  }, source);
}

registerHooks({
  load: (url, context, nextLoad) => {
    const loaded = nextLoad(url, context);
    if (!url.endsWith('/cart-sink/rule/reduce-cart.ts')) return loaded;
    return { ...loaded, source: distortRule(String(loaded.source)) };
  },
});
