// The carts database: its rows, transactions under READ COMMITTED with row locks that are waited for, a COMMIT whose
// answer may be lost, sessions that the server ends. It understands the sink's real statements by their names and
// arguments (stand-ins.ts gives those instead of SQL). Every commit is noted, for the judge.

import type { Process, World } from '../world.ts';
import { CartTables, type Change, type Statement } from './cart-tables.ts';

const LOCK_TIMEOUT_MS = 3_000;
const IDLE_IN_TRANSACTION_MS = 4_000;

class DatabaseError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(`the carts database says ${code}`);
    this.code = code;
  }
}

const cut = () => new DatabaseError('ECONNRESET');

interface Session {
  readonly process: Process;
  readonly locks: Set<string>;
  readonly changes: Change[];
  isOpen: boolean;
  lastUsedMs: number;
}

export class ModelCarts {
  tables = new CartTables();
  readonly #world: World;
  #sessions = new Set<Session>();
  /** States that a failover may go back to, oldest first. */
  #copies: CartTables[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  /** A pool as the sink has it, for one process. */
  openPool(process: Process) {
    const world = this.#world;
    const open = (): Session => {
      const session: Session = { process, locks: new Set(), changes: [], isOpen: true, lastUsedMs: world.nowMs };
      this.#sessions.add(session);
      return session;
    };
    process.onDeath.push(() => {
      for (const session of [...this.#sessions]) if (session.process === process) this.#end(session);
    });
    const query = (session: Session, statement: Statement): Promise<unknown[]> => this.#query(session, statement);
    return {
      query: async (statement: Statement) => {
        const session = open();
        try {
          return await query(session, statement);
        } finally {
          this.#end(session);
        }
      },
      tx: async <T>(
        work: (tx: { query(statement: Statement): Promise<unknown[]>; send(statement: Statement): void }) => Promise<T>,
      ): Promise<T> => {
        const session = open();
        this.#watch(session);
        let result: T;
        try {
          // Statements that are sent together run one after the other, and none after a failure.
          let last: Promise<unknown> = Promise.resolve();
          const inOrder = (statement: Statement): Promise<unknown[]> => {
            const next = last.then(() => query(session, statement));
            last = next;
            next.catch(() => undefined); // whoever waits for it has its error
            return next;
          };
          result = await work({ query: inOrder, send: (statement) => void inOrder(statement) });
          await last;
        } catch (error) {
          await world.close('ROLLBACK', () => this.#end(session));
          throw error;
        }
        const commit = (): void => {
          if (!session.isOpen) throw cut();
          this.#commit(session);
        };
        try {
          await world.request('COMMIT', commit, cut);
        } catch (error) {
          // Its connection is gone: the server rolls back what it was never asked to commit, sooner or later.
          world.enqueue({ label: 'a carts session ends', run: () => this.#end(session) });
          throw error;
        }
        return result;
      },
    };
  }

  /** Goods are added by a user, unless somebody works on the line. */
  addGoods(userId: string, sku: string, quantity: number): void {
    const line = this.tables.findLine(userId, sku);
    if (line !== undefined && this.#holder(`line ${line.lineId}`) !== undefined) return;
    this.tables.add(userId, sku, quantity);
    this.#noteState();
  }

  /** Ends all sessions; with `goBack`, the newest commits are lost, offsets and effects together. */
  restart(goBack: number): void {
    for (const session of [...this.#sessions]) this.#end(session);
    const copy = this.#copies.at(-1 - goBack);
    if (goBack === 0 || copy === undefined) return;
    this.#copies.length -= goBack;
    this.tables = copy.clone();
  }

  #holder(key: string, except?: Session): Session | undefined {
    for (const session of this.#sessions) if (session !== except && session.locks.has(key)) return session;
    return undefined;
  }

  #query(session: Session, statement: Statement): Promise<unknown[]> {
    const world = this.#world;
    let untilMs: number | undefined;
    const isHeld = (): boolean =>
      session.isOpen && this.tables.locksOf(statement).some((key) => this.#holder(key, session) !== undefined);
    const isWaiting = (): boolean => {
      if (!isHeld()) return false;
      if (untilMs === undefined) {
        untilMs = world.nowMs + LOCK_TIMEOUT_MS;
        world.after(LOCK_TIMEOUT_MS, 'lock timeout', () => undefined, { isOff: () => !isHeld() });
      }
      return world.nowMs < untilMs;
    };
    const run = (): unknown[] => {
      if (!session.isOpen) throw cut();
      session.lastUsedMs = world.nowMs;
      if (isHeld()) {
        this.#end(session);
        throw new DatabaseError('55P03');
      }
      for (const key of this.tables.locksOf(statement)) session.locks.add(key);
      const { rows, changes } = this.tables.execute(statement, session.changes);
      session.changes.push(...changes);
      return rows;
    };
    const lost = (): Error => {
      this.#end(session);
      return world.chance(128) ? cut() : new DatabaseError('57014');
    };
    return world.read(statement.name, run, lost, isWaiting);
  }

  #commit(session: Session): void {
    this.tables.commit(session.changes);
    this.#end(session);
    this.#noteState();
  }

  #noteState(): void {
    this.#copies.push(this.tables.clone());
    if (this.#copies.length > 4) this.#copies.shift();
  }

  #end(session: Session): void {
    session.isOpen = false;
    this.#sessions.delete(session);
  }

  /** The server ends a session that idles in its transaction, so that no successor waits for ever. */
  #watch(session: Session): void {
    const look = (): void => {
      if (!session.isOpen) return;
      if (this.#world.nowMs - session.lastUsedMs >= IDLE_IN_TRANSACTION_MS) {
        this.#end(session);
        return;
      }
      this.#world.after(IDLE_IN_TRANSACTION_MS, 'idle in transaction', look, { isOff: () => !session.isOpen });
    };
    this.#world.after(IDLE_IN_TRANSACTION_MS, 'idle in transaction', look, { isOff: () => !session.isOpen });
  }
}
