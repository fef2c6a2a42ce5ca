// A headless Chromium for the console's tests, and what is wrong with a page that no assertion asks for: messages on its console,
// failed requests, violations of its content security policy. Debian's chromium; CHROMIUM names another one.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Browser, chromium, type Page } from 'playwright-core';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export async function startBrowser(): Promise<Browser> {
  if (!existsSync(executablePath)) {
    throw new Error(
      `There is no ${executablePath}: install it (apt install chromium), or set CHROMIUM to the path of a Chromium or Chrome.`,
    );
  }
  // The sandbox needs a user that is not root.
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

export interface Viewer {
  readonly page: Page;
  /** What a browser has complained of so far. */
  readonly complaints: string[];
  /** The findings of axe-core that are serious or critical, by rule. */
  findBarriers(): Promise<string[]>;
  close(): Promise<void>;
}

interface AxeFinding {
  readonly id: string;
  readonly impact: string | null;
  readonly nodes: readonly { readonly html: string }[];
}

export async function openConsole(
  browser: Browser,
  url: string,
  { width = 1280, colorScheme = 'light' }: { width?: number; colorScheme?: 'light' | 'dark' } = {},
): Promise<Viewer> {
  // axe-core is put into the page by the debugger's protocol, which no policy of the page forbids.
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, reducedMotion: 'reduce' });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', ({ message }) => complaints.push(message));
  await page.goto(url);
  return {
    page,
    complaints,
    async findBarriers() {
      await page.evaluate(axeSource);
      const violations = (await page.evaluate('axe.run().then(({ violations }) => violations)')) as AxeFinding[];
      return violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`);
    },
    close: () => context.close(),
  };
}
