// No tracked file holds a secret: private keys, and the tokens that services make recognizable. What tests need of the kind
// they make when they run. A password in a URL is for a reviewer to see: documentation is full of examples.
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const repository = join(import.meta.dirname, '..', '..');

/** By what they are called in a finding, so that the secret itself is never printed. */
const secrets: Readonly<Record<string, RegExp>> = {
  'a private key': /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}/,
  'an access key of AWS': /\bA(?:KI|SI)A[0-9A-Z]{16}\b/,
  'a token of GitHub': /\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})/,
  'a token of npm': /\bnpm_[A-Za-z0-9]{36}\b/,
  'a token of Slack': /\bxox[abprs]-[A-Za-z0-9-]{10}/,
  'a JSON Web Token': /\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20}/,
};

function findSecrets(text: string): string[] {
  return Object.entries(secrets).flatMap(([what, form]) => (form.test(text) ? [what] : []));
}

it('are in no tracked file', () => {
  const files = execFileSync('git', ['ls-files', '-z'], { cwd: repository, encoding: 'utf8' }).split('\0');
  const found = files.flatMap((file) => {
    const path = join(repository, file);
    if (file === '' || !statSync(path, { throwIfNoEntry: false })?.isFile()) return [];
    return findSecrets(readFileSync(path, 'utf8')).map((what) => `${file} holds ${what}`);
  });
  expect(found).toEqual([]);
  expect(files.length).toBeGreaterThan(100);
});

it('are recognized', () => {
  const [body, letters] = ['QUJD'.repeat(12), 'a1B2'.repeat(9)];
  expect(findSecrets(`-----BEGIN RSA PRIVATE ${'KEY'}-----\n${body}`)).toEqual(['a private key']);
  expect(findSecrets(`-----BEGIN PRIVATE ${'KEY'}-----\n${body}`)).toEqual(['a private key']);
  expect(findSecrets(`ghp_${letters}`)).toEqual(['a token of GitHub']);
  expect(findSecrets(`npm_${letters}`)).toEqual(['a token of npm']);
  expect(findSecrets(`AKIA${'ABCD'.repeat(4)}`)).toEqual(['an access key of AWS']);
  expect(findSecrets(`eyJ${letters}.eyJ${letters}.${letters}`)).toEqual(['a JSON Web Token']);
  expect(findSecrets('postgres://user:password@host:5432/orders')).toEqual([]);
});
