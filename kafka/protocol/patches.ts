// Replaces what kafkajs does wrong at run time, once for all clients of the process: its idle timers, its silence about
// a refused group, and its decoding of fetched records. Guarantees: the patch is in kafkajs's own code path, so that every user of its clients gets it;
// installing again changes nothing. Unit tests hold the patches to the shapes of the installed version, contract tests
// tell when kafkajs no longer needs them.

import { createRequire } from 'node:module';
import { decodeFetchResponse, FETCH_VERSIONS } from './fetch-response.ts';
import { toKafkajsPartition } from './kafkajs-messages.ts';
import { expandedBatchLimit } from './record-batch.ts';

const require = createRequire(import.meta.url);

export function installKafkajsPatches(): void {
  patchRequestQueue();
  patchBrokerPool();
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
