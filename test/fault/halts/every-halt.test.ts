// Every halt has a way out that is a command: for each code the fault, the halt, the commands that its own message holds, the
// services started again, the commands that the tools print, and an audit that finds the databases agreeing. A service that
// halts again on the way, over what the first halt had hidden, is followed the same way (I11).
import { afterEach, describe, expect, it } from 'vitest';
import { type Followed, follow, followLater, parseCommands } from '../../support/halts/follow.ts';
import type { HaltCase, World } from '../../support/halts/row.ts';
import { haltCases } from '../../support/halts/table.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createDisasterStage } from '../../support/stack/disaster-stage.ts';
import { createReplaceableSource } from '../../support/stack/replaceable-source.ts';
import { waitFor } from '../../support/wait.ts';

const MOST_HALTS = 4;

describe('from the halt by the commands of its message to a clean audit', { timeout: 300_000 }, () => {
  let cleanUp: () => Promise<void> = async () => undefined;
  afterEach(() => cleanUp());

  const createWorld = async ({ code, ownServer }: HaltCase): Promise<World> => {
    const label = `halt_${code.toLowerCase()}`.slice(0, 28);
    const source = ownServer && (await createReplaceableSource(label, { settings: ownServer, sharedCarts: true }));
    cleanUp = () => source!.cleanUp();
    const stage = await createDisasterStage(label, source?.stage);
    if (source === undefined) cleanUp = stage.cleanUp;
    let next = 0;
    const place = async (count = 12) => {
      next += count;
      await stage.load.backlog({ first: next - count, count });
    };
    const sink = await stage.startSink();
    const reader = await stage.startStreaming();
    await place(40);
    await stage.waitApplied();
    return { stage, reader, sink, source, place };
  };

  /** The halt of one of the services, or undefined once both work: orders placed from now on are applied. */
  const findHalt = async ({ stage, place }: World, services: readonly Service[]) => {
    const ledger = async () => (await stage.carts('SELECT FROM applied_orders')).length;
    const before = await ledger();
    await place(30);
    return waitFor(
      'the services to work, or to halt',
      async () => {
        const halts = services.flatMap(({ logs }) => logs.filter(({ event }) => event === 'pipeline.halted'));
        if (halts.length > 0) return { message: String(halts[0]!.msg) };
        return (await ledger()) >= before + 30 ? { message: undefined } : undefined;
      },
      { deadlineMs: 60_000 },
    );
  };

  it.each(haltCases.map((one) => [one.code, one] as const))('%s', async (code, halt) => {
    const world = await createWorld(halt);
    const { stage } = world;
    const { msg } = await stage.waitHalted(await halt.fault(world), code);
    // What each halt asks for is closed by the last of them too; running it twice changes nothing.
    let message: string | undefined = String(msg);
    const later: Followed['later'][number][] = [];
    await halt.before?.(world);
    for (let halts = 1; message !== undefined; halts += 1) {
      expect(halts, `it halts again and again: ${message}`).toBeLessThanOrEqual(MOST_HALTS);
      expect(parseCommands(message), message).not.toEqual([]);
      const followed = await stage.environment.explain(follow(stage, message));
      later.push(...followed.later);
      if (halts === 1) await halt.after?.(world);
      await stage.environment.stopServices();
      const services = [await stage.startReader(), await stage.startHaltingSink()];
      ({ message } = await findHalt(world, services));
    }
    await followLater(stage, later);
    await stage.run('audit', ['--wait-seconds', '60']);
  });
});
