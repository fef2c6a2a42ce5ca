/**
 * Preloaded into a reader (`node --import ./test/support/process/lost-commit.ts …`): the first COMMIT of its stream does not
 * reach it, so that the next BEGIN comes inside a transaction. Fails at start when the parser's source text has changed.
 */
import { registerHooks } from 'node:module';

const PARSE = 'export function parsePgoutput(';

registerHooks({
  load: (url, context, nextLoad) => {
    const loaded = nextLoad(url, context);
    if (!url.endsWith('/cdc-reader/postgres/pgoutput.ts')) return loaded;
    const source = String(loaded.source);
    if (source.split(PARSE).length !== 2) throw new Error(`cdc-reader/postgres/pgoutput.ts no longer reads: ${PARSE}`);
    return { ...loaded, source: source.replace(PARSE, `${LOSING}function parseWhole(`) };
  },
});

const LOSING = `
let isLost = false;
export function parsePgoutput(...args) {
  const message = parseWhole(...args);
  if (message.kind !== 'commit' || isLost) return message;
  isLost = true;
  return { kind: 'type' };
}
`;
