/**
 * Settles as `work` does, or rejects with what `onDeadline` returns once `deadlineMs` have passed. `work` is not
 * cancelled: `onDeadline` may cut its connection. Its later result is ignored.
 */
export async function withDeadline<T>(work: Promise<T>, deadlineMs: number, onDeadline: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(onDeadline()), deadlineMs);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
