// The words of this project are the field's: whoever runs Postgres, Kafka or Debezium reads a comment, a message or a page
// once. Each row is a word of our own that stood in the code before, and what to write instead (docs/glossary.md). Read
// are comments and quoted texts of what is shipped and of dev/, and the documents; identifiers are left to reviewers.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const repository = join(import.meta.dirname, '..', '..', '..');

const words: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/\blook(s|ed|ing)? (at|whether|of|for|after|that)\b/i, 'check, verify, compare, read'],
  [/\ba look\b/i, 'a check'],
  [/(?<!\/)\bjudg(e[sd]?|ing|ement)\b/i, 'check, verify, classify'],
  [/\bsuspect(s|ed)?\b/i, 'check, suspected by whom? name the fact'],
  [/\bsettled\b/i, 'last stable offset (Kafka), finished, decided'],
  [/\banew\b/i, 'again, from the beginning'],
  [/\b(let|lets|letting) go of\b/i, 'acknowledge, release'],
  [/\btold how far\b|\btells? how far\b/i, 'acknowledge'],
  [/\bpassing (fault|error|failure|trouble)s?\b/i, 'transient'],
  [/\blifelines?\b/i, 'scope'],
  [/\bpatiently\b/i, 'with back-off'],
  [/\bcan(not|'t)? be had\b/i, 'is (un)available'],
  [/\bbe(ing)? well\b|\bis well\b/i, 'healthy, streaming'],
  [/\bwhat waits\b/i, 'pending transactions, pending orders'],
  [/\bis done again\b|(?<!npm )\bstarts? again\b/i, 'retried, restarts'],
  [/\bdoes not go on where\b|\bgoes on where\b/i, 'gap or overlap in base offsets, continues at'],
  [/\bheld replays?\b/i, 'paused replay'],
  [/\bgroup membership\b/i, 'consumer-group session'],
  [/\btrap \d/i, 'say what the library does'],
];

const sources = globSync('{order-api,cdc-reader,cart-sink,schemas,kafka,service,tools,dev}/**/*.ts', {
  cwd: repository,
});
const documents = globSync('{*.md,docs/*.md}', { cwd: repository }).filter((path) => path !== 'CHANGELOG.md');

/** Comments and quoted texts, each with its line; code between them is blank. */
function proseOf(text: string): string {
  const prose = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;
  let result = '';
  let end = 0;
  for (const match of text.matchAll(prose)) {
    result += text.slice(end, match.index).replace(/[^\n]/g, ' ') + match[0];
    end = match.index + match[0].length;
  }
  return result;
}

function found(path: string, text: string): string[] {
  return text.split('\n').flatMap((line, index) =>
    words.flatMap(([pattern, instead]) => {
      const word = pattern.exec(line)?.[0];
      return word === undefined ? [] : [`${path}:${index + 1}: "${word}" → ${instead}`];
    }),
  );
}

const read = (path: string) => readFileSync(join(repository, path), 'utf8');

describe('the words', () => {
  it('of comments and messages are the field’s', () => {
    expect(sources.length).toBeGreaterThan(150);
    expect(sources.flatMap((path) => found(path, proseOf(read(path))))).toEqual([]);
  });

  it('of the documents are the field’s, the glossary’s column of old names aside', () => {
    expect(documents.length).toBeGreaterThan(5);
    expect(documents.flatMap((path) => found(path, read(path)))).toEqual([]);
  });

  it('are found in a comment, a message and a page, and not in an identifier', () => {
    const code = "settled(); // judged anew\nconst text = 'a look at it';";
    expect(found('x.ts', proseOf(code))).toHaveLength(4);
    expect(found('x.ts', proseOf('const settled = lifeline;'))).toEqual([]);
  });
});
