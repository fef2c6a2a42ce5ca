// The entry point of the Postgres containers of compose.yaml, run in a container as there, up to the image's own, whose place a
// stand-in takes: the Postgres image is not needed. Guarantees: what is returned is what the image's entry point would get.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serviceOf } from './compose-file.ts';
import type { ContainerEngine } from './container-engine.ts';
import { mountsOf } from './deployment.ts';

/** `image` has coreutils; `directory` is that of a deployment. Returns the arguments, and owner and mode of the files for TLS. */
export async function enterPostgres(
  engine: ContainerEngine,
  image: string,
  directory: string,
  name: 'orders-db' | 'carts-db',
): Promise<{ args: string[]; files: string[] }> {
  const home = join(directory, 'stand-ins');
  mkdirSync(home, { recursive: true });
  const put = (file: string, at: string, text: string) => {
    writeFileSync(join(home, file), text, { mode: 0o755 });
    return ['--volume', `${join(home, file)}:${at}:ro`];
  };
  const report = "#!/bin/sh\nstat --format 'file %n %U %a' /run/tls /run/tls/*\nprintf 'argument %s\\n' \"$@\"\n";
  const mounts = [
    ...put('entrypoint.sh', '/usr/local/bin/docker-entrypoint.sh', report),
    ...put('passwd', '/etc/passwd', 'root:x:0:0::/:/bin/sh\npostgres:x:999:999::/:/bin/sh\n'),
    ...put('group', '/etc/group', 'root:x:0:\npostgres:x:999:\n'),
    ...mountsOf(directory, name),
  ];
  const { entrypoint, command } = serviceOf(name);
  const as = ['--network', 'none', '--user', '0:0', '--entrypoint', entrypoint![0]!];
  const lines = (await engine.run(['run', '--rm', ...as, ...mounts, image, ...command!])).split('\n');
  const of = (kind: string) => lines.filter((line) => line.startsWith(kind)).map((line) => line.slice(kind.length));
  return { args: of('argument '), files: of('file ') };
}
