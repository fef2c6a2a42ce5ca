// Replaces what kafkajs does wrong at run time, once for all clients of the process: its idle timers, and its silence about a
// refused group. Guarantees: the patches are in kafkajs's own code path, so that every user of its clients gets them;
// installing again changes nothing. Unit tests hold the patches to the shapes of the installed version, contract tests tell
// when kafkajs no longer needs them.

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

export function installKafkajsPatches(): void {
  patchRequestQueue();
  patchBrokerPool();
}

interface RequestQueue {
  pending: unknown[];
  throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  checkPendingRequests(): void;
}

const THROTTLE_CHECK_MS = 10;

/**
 * kafkajs arms a timer after every response although no request is queued, with a negative delay that Node turns into 1 ms
 * and warns about, and each run arms the next: 6 % of a core for idle connections. Only queued requests need it.
 */
function patchRequestQueue(): void {
  const { prototype } = require('kafkajs/src/network/requestQueue') as { prototype: Record<string, unknown> };
  prototype.scheduleCheckPendingRequests = function scheduleCheckPendingRequests(this: RequestQueue): void {
    if (this.pending.length === 0 || this.throttleCheckTimeoutId !== null) return;
    const throttledMs = this.throttledUntil - Date.now();
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null;
        this.checkPendingRequests();
      },
      throttledMs > 0 ? throttledMs : THROTTLE_CHECK_MS,
    );
  };
}

interface BrokerPool {
  withBroker: ((callback: (broker: object) => Promise<unknown>) => Promise<unknown>) & { isPatched?: true };
}

/**
 * kafkajs asks one broker after the other and throws their errors away: that a group is refused became "Failed to find group
 * coordinator", which reads as an outage. A missing grant is the answer of all brokers, so it is thrown.
 */
function patchBrokerPool(): void {
  const { prototype } = require('kafkajs/src/cluster/brokerPool') as { prototype: BrokerPool };
  const { withBroker } = prototype;
  if (withBroker.isPatched) return;
  prototype.withBroker = Object.assign(
    async function withBrokerOrRefusal(this: BrokerPool, callback: (broker: object) => Promise<unknown>) {
      let refusal: unknown;
      const answer = await withBroker.call(this, (broker) =>
        callback(broker).catch((error: { type?: unknown }) => {
          if (/_AUTHORIZATION_FAILED$/.test(String(error.type))) refusal = error;
          throw error;
        }),
      );
      if (answer === null && refusal !== undefined) throw refusal;
      return answer;
    },
    { isPatched: true as const },
  );
}
