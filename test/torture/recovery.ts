// How long the pipeline takes to be whole again: from the end of a fault to the moment when everything that was
// committed until then is applied. A recovery into which another fault falls is told apart, since both share the blame.

import { HopelessError, waitFor } from '../../dev/process/wait-for.ts';
import { withTextClient } from '../support/oracle/facts.ts';
import type { Fault, FaultKind } from './plan.ts';
import type { TortureStack } from './stack.ts';

export interface Recovery {
  readonly fault: Fault;
  readonly ms: number;
  /** No other fault struck, or still lasted, before it was over. */
  readonly alone: boolean;
}

export interface RecoveryWatch {
  /** A fault begins: recoveries that still go on are not alone. */
  faultBegins(): void;
  /** A fault has ended: what is committed now is waited for in the background. */
  faultEnded(fault: Fault): void;
  /** Waits for all of them. */
  settle(): Promise<void>;
  readonly recoveries: readonly Recovery[];
  /** Faults after which it did not come about in time, in words. */
  readonly failures: readonly string[];
}

/** The slowest that was ever seen, disturbed by other faults on a busy machine, took a quarter of this. */
const recoveryDeadlineMs = 120_000;

export function createRecoveryWatch(stack: TortureStack, signal: AbortSignal): RecoveryWatch {
  const recoveries: Recovery[] = [];
  const failures: string[] = [];
  const pending = new Set<Promise<void>>();
  let faultsBegun = 0;
  let faultsUnderWay = 0;

  const watch = async (fault: Fault): Promise<void> => {
    const startMs = performance.now();
    const begunBefore = faultsBegun;
    const hasCompany = faultsUnderWay > 0;
    const patience = { deadlineMs: recoveryDeadlineMs, everyMs: 150 };
    let missing: string[] | undefined;
    await waitFor(
      `what was committed at the end of ${fault.kind} to be applied`,
      async () => {
        if (signal.aborted) throw new HopelessError(signal.reason);
        missing ??= await readMissing(stack);
        if (missing.length > 0) missing = await readStillMissing(stack, missing);
        if (missing.length > 0) throw new Error(`${missing.length} orders are not applied, the first is ${missing[0]}`);
        return true;
      },
      patience,
    );
    recoveries.push({ fault, ms: performance.now() - startMs, alone: !hasCompany && faultsBegun === begunBefore });
  };

  return {
    recoveries,
    failures,
    faultBegins() {
      faultsBegun += 1;
      faultsUnderWay += 1;
    },
    faultEnded(fault) {
      faultsUnderWay -= 1;
      const one: Promise<void> = watch(fault)
        .catch((error: Error) => {
          if (!signal.aborted) failures.push(error.message);
        })
        .finally(() => pending.delete(one));
      pending.add(one);
    },
    settle: async () => {
      await Promise.all(pending);
    },
  };
}

/** Orders that are committed and not applied. */
async function readMissing(stack: TortureStack): Promise<string[]> {
  const ids = async (url: string, table: string) =>
    (await withTextClient(url, (query) => query(`SELECT order_id FROM ${table}`))).map(({ order_id }) => order_id!);
  const orders = await ids(stack.ordersUrl, 'orders');
  const applied = new Set(await ids(stack.cartsUrl, 'applied_orders'));
  return orders.filter((id) => !applied.has(id));
}

async function readStillMissing(stack: TortureStack, ids: readonly string[]): Promise<string[]> {
  const sql = `SELECT id FROM unnest($1::uuid[]) AS wanted (id)
    WHERE NOT EXISTS (SELECT FROM applied_orders WHERE order_id = id)`;
  return (await withTextClient(stack.cartsUrl, (query) => query(sql, [ids]))).map(({ id }) => id!);
}

/** The worst recovery of each kind, undisturbed and at all, in milliseconds. */
export function summarize(recoveries: readonly Recovery[]): {
  readonly kind: FaultKind;
  readonly count: number;
  readonly aloneCount: number;
  readonly worstAloneMs: number | undefined;
  readonly worstMs: number;
}[] {
  return [...Map.groupBy(recoveries, ({ fault }) => fault.kind)]
    .map(([kind, own]) => {
      const alone = own.filter((one) => one.alone).map(({ ms }) => ms);
      return {
        kind,
        count: own.length,
        aloneCount: alone.length,
        worstAloneMs: alone.length === 0 ? undefined : Math.max(...alone),
        worstMs: Math.max(...own.map(({ ms }) => ms)),
      };
    })
    .toSorted((a, b) => a.kind.localeCompare(b.kind));
}
