/**
 * Cart lines while orders are folded over them: which are live, which have changed. No I/O.
 *
 * Guarantees one live line for a user and SKU, as the database has it. A line that is emptied is gone, and may come back.
 */
import type { CartLine } from './reduce-cart.ts';

/** A line of the carts database, with the transaction that made it. */
export interface StoredLine extends CartLine {
  readonly createdXid: string;
}

/** What makes a live line unique, as one key; neither part can hold the separator. */
export function formatCartKey(line: { readonly userId: string; readonly sku: string }): string {
  return `${line.userId}\n${line.sku}`;
}

/** `lines` must be live. */
export function createCartState(lines: readonly StoredLine[]) {
  const byKey = new Map(lines.map((line) => [formatCartKey(line), line]));
  const byId = new Map(lines.map((line) => [line.lineId, line]));
  const changed = new Map<string, StoredLine>();
  return {
    live: (userId: string, sku: string): StoredLine | undefined => byKey.get(formatCartKey({ userId, sku })),
    /** Live lines only; undefined for null. */
    byId: (lineId: string | null): StoredLine | undefined => (lineId === null ? undefined : byId.get(lineId)),
    /** Stores a line's quantity; 0 removes it. */
    set: (line: StoredLine): void => {
      changed.set(line.lineId, line);
      if (line.quantity === 0) {
        byId.delete(line.lineId);
        byKey.delete(formatCartKey(line));
      } else {
        byId.set(line.lineId, line);
        byKey.set(formatCartKey(line), line);
      }
    },
    /** The lines that were set, as they are now. */
    changed: (): readonly StoredLine[] => [...changed.values()],
  };
}
