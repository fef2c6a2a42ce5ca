// The one place through which stand-ins reach the models of the present run: their factories are hoisted above every
// import, so they can't close over anything.
import type { Process, World } from './world.ts';

export const stage: {
  world: World;
  /** By the name of the export that it stands for; services.ts has them with their types. */
  // biome-ignore lint/suspicious/noExplicitAny: each has the options of what it stands for
  io: Record<string, (process: Process, options: any) => unknown>;
} = { world: undefined as unknown as World, io: {} };

/** A function that asks the models of the present run, on behalf of the process whose code runs. */
// biome-ignore lint/suspicious/noExplicitAny: see above
export const standIn = (name: string) => (options: any) => stage.io[name]!(stage.world.current!, options);
