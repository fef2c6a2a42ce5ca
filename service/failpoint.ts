/**
 * Named places where a test may stop, kill or fail this process, so that crash tests hit exact moments and not times.
 *
 * Costs one property read while no handler is set. Nothing in the program sets one, and no variable can: only a module
 * that a test preloads does (test/support/process/failpoints.ts).
 */
export type FailpointHandler = (name: string) => void | Promise<void>;

const hook: { handler: FailpointHandler | undefined } = { handler: undefined };

/** For the tests' preload module only. */
export function setFailpointHandler(handler: FailpointHandler | undefined): void {
  hook.handler = handler;
}

/** Marks a moment. Await it where the caller can wait. */
export function failpoint(name: string): void | Promise<void> {
  if (hook.handler !== undefined) return hook.handler(name);
}
