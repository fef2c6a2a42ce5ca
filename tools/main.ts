// Runs a command by its name, for the container: `docker compose run --rm tools replay --from-lsn …`. A command reads its own
// arguments, so its name is removed from them.
import process from 'node:process';

const tools: Readonly<Record<string, () => Promise<unknown>>> = {
  replay: () => import('./replay/main.ts'),
  find: () => import('./find/main.ts'),
  status: () => import('./status/main.ts'),
  audit: () => import('./audit/main.ts'),
  adopt: () => import('./adopt/main.ts'),
  parked: () => import('./parked/main.ts'),
  migrate: () => import('./migrate.ts'),
};

const [name = ''] = process.argv.splice(2, 1);
const start = Object.hasOwn(tools, name) ? tools[name] : undefined;
if (start === undefined) {
  console.error(`expected a command: ${Object.keys(tools).join(', ')}, then its arguments (--help lists them)`);
  process.exitCode = 64;
} else {
  await start();
}
