// Replaces what kafkajs does wrong at run time, once for all clients of the process: its idle timers. Guarantees: the patch is
// in kafkajs's own code path, so that every user of its clients gets it; installing again changes nothing. Unit tests hold the
// patch to the shape of the installed version, contract tests tell when kafkajs no longer needs it.

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

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
export function installKafkajsPatches(): void {
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
