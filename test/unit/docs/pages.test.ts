// The form of the pages, and that what they name exists: lines and cells of a length that can be read, pages of a length
// that is read, links, anchors, test files and npm scripts.
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';

const repository = join(import.meta.dirname, '..', '..', '..');
const pages = globSync(['*.md', 'docs/**/*.md'], { cwd: repository })
  .toSorted()
  .map((path) => {
    const text = readFileSync(join(repository, path), 'utf8');
    return { path, text, lines: text.trimEnd().split('\n') };
  });
const { scripts } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};

const MAX_LINE = 160;
const MAX_CELL = 120;
const MAX_LINES: Readonly<Record<string, number>> = { 'README.md': 120, 'ARCHITECTURE.md': 160 };

const withoutCode = (text: string) => text.replace(/^```.*?^```/gms, '');

/** As GitHub makes them: lower case, no punctuation, a hyphen for each space. */
function readAnchors(text: string): string[] {
  const headings = [...withoutCode(text).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading!.toLowerCase());
  return headings.map((heading) => heading.replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'));
}

describe('the pages', () => {
  it('are found', () => {
    expect(pages.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['README.md', 'ARCHITECTURE.md', 'docs/operations.md', 'docs/failures.md']),
    );
  });

  it(`have lines of at most ${MAX_LINE} and table cells of at most ${MAX_CELL} characters`, () => {
    const wrong = pages.flatMap(({ path, lines }) =>
      lines.flatMap((line, index) => {
        const cells = line.startsWith('|') ? line.split('|').map((cell) => cell.trim()) : [];
        const isLong = line.length > MAX_LINE || cells.some((cell) => cell.length > MAX_CELL);
        return isLong ? [`${path}:${index + 1} (${line.length})`] : [];
      }),
    );
    expect(wrong, 'Wrap the line; make a list or a section of a long cell.').toEqual([]);
  });

  it.each(Object.entries(MAX_LINES))('%s has at most %i lines', (path, most) => {
    const page = pages.find((one) => one.path === path)!;
    expect(page.lines.length, 'Move what one reader needs to a page of its own in docs/.').toBeLessThanOrEqual(most);
  });

  it('link to files and headings that exist', () => {
    const broken = pages.flatMap(({ path, text }) =>
      [...withoutCode(text).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].flatMap(
        ([link, target, anchor]) => {
          const file = target === '' ? path : normalize(join(dirname(path), target!));
          const isThere = existsSync(join(repository, file));
          const hasAnchor =
            isThere && (!anchor || readAnchors(readFileSync(join(repository, file), 'utf8')).includes(anchor));
          return hasAnchor ? [] : [`${path}: ${link}`];
        },
      ),
    );
    expect(broken, 'Say where the file or the heading is now.').toEqual([]);
  });

  it('name only test files that exist', () => {
    const missing = pages.flatMap(({ path, text }) =>
      [...text.matchAll(/`(test\/[\w/.-]+\.ts)`/g)]
        .map(([, file]) => file!)
        .filter((file) => !existsSync(join(repository, file)))
        .map((file) => `${path}: ${file}`),
    );
    expect(missing).toEqual([]);
  });

  it('name only npm scripts that exist', () => {
    const named = pages.flatMap(({ text }) => [...text.matchAll(/\bnpm run ([a-z][\w:-]*)/g)].map(([, name]) => name!));
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });
});

describe('docs/failures.md', () => {
  it('names a test that exists for every fault', () => {
    const text = pages.find(({ path }) => path === 'docs/failures.md')!.text.split('\n## Gotchas\n')[0]!;
    const sections = text.split('\n### ').slice(1);
    const untested = sections.filter((section) => {
      const [, named = ''] = section.split('\n- Test: ');
      return !/`test\/[\w/.-]+\.test\.ts`/.test(named);
    });
    expect(sections.length).toBeGreaterThan(40);
    expect(
      untested.map((section) => section.split('\n')[0]),
      'End the section with "- Test: `test/….test.ts`"; a fault without a test does not belong here.',
    ).toEqual([]);
  });
});
