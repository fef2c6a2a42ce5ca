// One row of the table over all halts: how the fault is made, and what a person does beside the commands of the message. The
// way from the halt to a clean audit is the same for all: test/fault/halts/every-halt.test.ts.
import type { Service } from '../process/service-process.ts';
import type { DisasterStage } from '../stack/disaster-stage.ts';
import type { ReplaceableSource } from '../stack/replaceable-source.ts';

/** A pipeline that works: reader and sink run, and have applied some orders. */
export interface World {
  readonly stage: DisasterStage;
  readonly reader: Service;
  readonly sink: Service;
  /** The orders server, where a row asked for one of its own. */
  readonly source: ReplaceableSource | undefined;
  /** Places orders that nobody has placed yet. */
  place(count?: number): Promise<void>;
}

export interface HaltCase {
  readonly code: string;
  /** Breaks something, and returns the service that halts over it. */
  readonly fault: (world: World) => Promise<Service>;
  /** What the message asks for before its commands. */
  readonly before?: (world: World) => Promise<unknown>;
  /** What it asks for after them, before the services start again: what no command can bring back. */
  readonly after?: (world: World) => Promise<unknown>;
  /** Settings of an orders server of its own, which the fault may replace. */
  readonly ownServer?: Readonly<Record<string, string>>;
}

/** A halt whose whole way, by the commands of its message, another test goes. */
export interface CoveredHalt {
  readonly code: string;
  readonly file: string;
  readonly test: string;
}

/** Stops the reader, breaks something, and starts a reader again. */
export const whileReaderIsDown =
  (breakIt: (world: World) => Promise<unknown>): HaltCase['fault'] =>
  async (world) => {
    await world.reader.stop();
    await breakIt(world);
    return world.stage.startReader();
  };

export const whileSinkIsDown =
  (breakIt: (world: World) => Promise<unknown>): HaltCase['fault'] =>
  async (world) => {
    await world.sink.stop();
    await breakIt(world);
    return world.stage.startHaltingSink();
  };
