// The Node image that the real Dockerfile starts from: the exact one where a registry gives it, else a stand-in for it:
// a minimal Debian of debootstrap's with the pinned `node` of node_modules, this machine's npm, and what npm needs to
// reach the packages that this machine reaches. The stand-in stays behind under its own name, for the next run.

import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { ContainerEngine } from './container-engine.ts';

const execute = promisify(execFile);
const repository = join(import.meta.dirname, '..', '..');

/** Returns the name of an image to build on; `say` hears what takes long. */
export async function findNodeBaseImage(engine: ContainerEngine, say: (text: string) => void): Promise<string> {
  const dockerfile = readFileSync(join(repository, 'Dockerfile'), 'utf8');
  const official = /^ARG NODE_IMAGE=(\S+)$/m.exec(dockerfile)?.[1];
  if (official === undefined) throw new Error('The Dockerfile has no line ARG NODE_IMAGE=…');
  if (await engine.hasImage(official)) return official;
  const standIn = `localhost/tillstream-stand-in-for-node:${official.split(':').at(-1)}`;
  if (await engine.hasImage(standIn)) return standIn;
  try {
    await engine.run(['pull', official], { deadlineMs: 300_000 });
    return official;
  } catch (error) {
    say(`${official} can't be pulled; making a stand-in for it. ${(error as Error).message.split('\n').at(-1)}`);
  }
  await makeStandIn(engine, standIn);
  return standIn;
}

async function makeStandIn(engine: ContainerEngine, image: string): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('Without a registry, the stand-in for the Node image is made as root.');
  const work = mkdtempSync('/var/tmp/tillstream-stand-in-');
  const root = join(work, 'root');
  try {
    const packages = '--include=ca-certificates,libatomic1'; // node is linked against libatomic
    await execute('debootstrap', ['--variant=minbase', packages, 'bookworm', root, debianMirror()], {
      maxBuffer: 64 * 1024 * 1024,
    }).catch((cause) => {
      throw new Error('debootstrap failed; is it installed (apt-get install debootstrap)?', { cause });
    });
    cpSync(process.execPath, join(root, 'usr/local/bin/node'));
    await installNpm(root);
    await execute('chroot', [root, 'useradd', '--uid', '1000', '--create-home', 'node']);
    await execute('chroot', [root, 'npm', '--version']);
    const archive = join(work, 'root.tar');
    await execute('tar', ['--create', '--file', archive, '--directory', root, '.'], { maxBuffer: 64 * 1024 * 1024 });
    const changes = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'];
    const args = changes.flatMap((change) => ['--change', `ENV ${change}`]);
    await engine.run(['import', ...args, archive, image], { deadlineMs: 300_000 });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The mirror that this machine installs its own packages from. */
function debianMirror(): string {
  const folder = '/etc/apt/sources.list.d';
  const files = [
    '/etc/apt/sources.list',
    ...(existsSync(folder) ? readdirSync(folder).map((f) => join(folder, f)) : []),
  ];
  for (const file of files.filter(existsSync)) {
    const text = readFileSync(file, 'utf8');
    const mirror =
      /^URIs:\s*(\S+debian\S*)/m.exec(text)?.[1] ?? /^deb\s+(?:\[.*\]\s+)?(\S+debian\S*)\s/m.exec(text)?.[1];
    if (mirror !== undefined) return mirror;
  }
  throw new Error('No Debian mirror is configured in /etc/apt.');
}

/** The folder of the npm that runs this, or of the one on the PATH. */
function findNpm(): string {
  const onPath = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'npm'));
  const found = [process.env.npm_execpath ?? '', ...onPath].find((file) => file.includes('npm') && existsSync(file));
  const folder = found === undefined ? undefined : join(dirname(realpathSync(found)), '..');
  if (folder === undefined || !existsSync(join(folder, 'bin', 'npm-cli.js')))
    throw new Error('npm is not on the PATH.');
  return folder;
}

async function installNpm(root: string): Promise<void> {
  const npm = async (...args: string[]) => (await execute('npm', args)).stdout.trim();
  cpSync(findNpm(), join(root, 'usr/local/lib/node_modules/npm'), { recursive: true, dereference: true });
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
  const lines = [`registry=${await npm('config', 'get', 'registry')}`];
  const authority = process.env.NODE_EXTRA_CA_CERTS;
  if (authority !== undefined && existsSync(authority)) {
    mkdirSync(join(root, dirname(authority)), { recursive: true });
    cpSync(authority, join(root, authority), { dereference: true });
    lines.push(`cafile=${authority}`);
  }
  mkdirSync(join(root, 'usr/local/etc'), { recursive: true });
  writeFileSync(join(root, 'usr/local/etc/npmrc'), `${lines.join('\n')}\n`);
}
