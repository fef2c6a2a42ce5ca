// The scope of one start: the first failure of any of its parts ends all of them, and the next start reads from the
// checkpoint what happened. Guarantees: the first failure counts, and rejects every pending `race` at once; nothing
// that was opened is left open.
export interface Scope {
  /** Ends this start; later calls change nothing. */
  fail(error: Error): void;
  /** Rejects with the first failure. */
  readonly failed: Promise<never>;
  /** Aborted at the first failure. */
  readonly signal: AbortSignal;
  /** Resolves or rejects as `work` does, or rejects with the first failure if that comes sooner. */
  race<T>(work: Promise<T>): Promise<T>;
  /**
   * Opens something that `resources` closes, unless this start has ended meanwhile: then it is closed at once, since
   * whoever raced ahead has disposed of the rest already.
   */
  open<T>(resources: AsyncDisposableStack, create: () => Promise<T>, close: (opened: T) => Promise<void>): Promise<T>;
}

export function createScope(): Scope {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  failed.catch(() => {}); // it may have no listener yet; later ones get it all the same
  const controller = new AbortController();
  return {
    fail: (error) => {
      reject(error);
      controller.abort(error);
    },
    failed,
    signal: controller.signal,
    race: (work) => Promise.race([work, failed]),
    async open(resources, create, close) {
      controller.signal.throwIfAborted();
      const opened = await create();
      if (!resources.disposed && !controller.signal.aborted) return resources.adopt(opened, close);
      await close(opened);
      throw controller.signal.reason;
    },
  };
}
