// Replaces what kafkajs does wrong at run time, once for all clients of the process: its idle timers, and its decoding of
// fetched records. Guarantees: the patch is in kafkajs's own code path, so that every user of its clients gets it;
// installing again changes nothing. Unit tests hold the patches to the shapes of the installed version, contract tests
// tell when kafkajs no longer needs them.

import { createRequire } from 'node:module';
import { decodeFetchResponse, FETCH_VERSIONS } from './fetch-response.ts';
import { toKafkajsPartition } from './kafkajs-messages.ts';
import { expandedBatchLimit } from './record-batch.ts';

const require = createRequire(import.meta.url);

export function installKafkajsPatches(): void {
  patchRequestQueue();
  patchFetchResponses();
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

interface ResponseProtocol {
  decode: ((bytes: Buffer) => Promise<object>) & { isPatched?: true };
}

/** From this version on the client is to wait by itself when a broker throttles it. */
const CLIENT_THROTTLES = 8;

/**
 * All records reach kafkajs's consumers through our decoder (kafkajs-messages.ts says what kafkajs's own lacks); errors in
 * the response are still kafkajs's to find.
 */
function patchFetchResponses(): void {
  for (const version of FETCH_VERSIONS) {
    const response = require(`kafkajs/src/protocol/requests/fetch/v${version}/response`) as ResponseProtocol;
    if (response.decode.isPatched) continue;
    response.decode = Object.assign(
      async (bytes: Buffer) => {
        const { throttleTimeMs, errorCode, sessionId, topics } = decodeFetchResponse(bytes, version);
        const budget = { leftBytes: expandedBatchLimit() };
        return {
          throttleTime: version < CLIENT_THROTTLES ? throttleTimeMs : 0,
          clientSideThrottleTime: version < CLIENT_THROTTLES ? 0 : throttleTimeMs,
          errorCode,
          sessionId,
          responses: topics.map(({ topic, partitions }) => ({
            topicName: topic,
            partitions: partitions.map((fetched) => toKafkajsPartition(topic, fetched, budget)),
          })),
        };
      },
      { isPatched: true as const },
    );
  }
}
