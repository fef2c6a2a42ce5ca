import { describe, expect, it } from 'vitest';
import { type Check, checkConfig } from '#service/command-line/check-config.ts';
import { classifyFailure } from '#service/failure.ts';

const good: Check = { what: 'good', find: async () => [['version', '18']] };
const failing = (what: string, code: string): Check => ({
  what,
  find: () => Promise.reject(Object.assign(new Error(`because of ${code}`), { code })),
});

async function run(...checks: readonly Check[]): Promise<{ code: number; text: string }> {
  let text = '';
  const code = await checkConfig(checks, classifyFailure, (more) => {
    text += more;
  });
  return { code, text };
}

describe('--check-config', () => {
  it('prints what it found, and ends with 0', async () => {
    expect(await run(good)).toEqual({ code: 0, text: 'good             version                18\n' });
  });

  it('goes on after a failure, and ends with 69 for a server that is away, 78 for what a person corrects', async () => {
    const away = await run(failing('away', 'ECONNREFUSED'), good);
    expect(away.code).toBe(69);
    expect(away.text).toMatch(/^away +unreachable +because of ECONNREFUSED\ngood/);
    expect((await run(failing('login', '28P01'), failing('away', 'ECONNREFUSED'))).code).toBe(78);
    expect((await run(failing('away', 'ECONNREFUSED'), failing('login', '28P01'))).code).toBe(78);
  });
});
