// Replaces what kafkajs does wrong at run time, once for all clients of the process: its idle timers, and its filtering of
// aborted transactions. Guarantees: the patch is in kafkajs's own code path, so that every user of its clients gets it;
// installing again changes nothing. Unit tests hold the patches to the shapes of the installed version, contract tests
// tell when kafkajs no longer needs them.

import { createRequire } from 'node:module';
import { createAbortedRecords, isAbortMarkerKey } from './aborted-transactions.ts';

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

/** One partition of a Fetch response, as kafkajs decodes it. */
export interface FetchedPartition {
  abortedTransactions?: readonly { readonly producerId: string; readonly firstOffset: string }[] | null;
  readonly messages: readonly {
    readonly offset: string;
    readonly key: Buffer | null;
    isControlRecord: boolean;
    readonly batchContext: { readonly producerId: string; readonly inTransaction: boolean };
  }[];
}

interface FetchResponse {
  decode: ((bytes: Buffer) => Promise<{ responses: readonly { partitions: readonly FetchedPartition[] }[] }>) & {
    isPatched?: true;
  };
}

/** The versions of Fetch that kafkajs speaks and that list aborted transactions. */
const FETCH_VERSIONS = [4, 5, 6, 7, 8, 9, 10, 11];

/**
 * kafkajs's read_committed returns aborted records where aborted transactions of two producers overlap, and takes a record
 * whose key is four zero bytes for an abort marker. So aborted records are found here, by the rule of Kafka's Java
 * consumer, and marked as control records: kafkajs counts their offsets and returns them to nobody.
 */
function patchFetchResponses(): void {
  for (const version of FETCH_VERSIONS) {
    const response = require(`kafkajs/src/protocol/requests/fetch/v${version}/response`) as FetchResponse;
    const { decode } = response;
    if (decode.isPatched) continue;
    response.decode = Object.assign(
      async (bytes: Buffer) => {
        const decoded = await decode(bytes);
        for (const { partitions } of decoded.responses) partitions.forEach(hideAbortedMessages);
        return decoded;
      },
      { isPatched: true as const },
    );
  }
}

/** Under read_uncommitted the response lists no aborted transaction, and nothing is hidden. */
export function hideAbortedMessages(partition: FetchedPartition): void {
  const transactions = partition.abortedTransactions ?? [];
  if (transactions.length === 0) return;
  const aborted = createAbortedRecords(
    transactions.map(({ producerId, firstOffset }) => ({
      producerId: BigInt(producerId),
      firstOffset: BigInt(firstOffset),
    })),
  );
  for (const message of partition.messages) {
    const offset = BigInt(message.offset);
    const producerId = BigInt(message.batchContext.producerId);
    if (!message.isControlRecord) {
      message.isControlRecord = message.batchContext.inTransaction && aborted.has(producerId, offset);
    } else if (isAbortMarkerKey(message.key)) aborted.end(producerId, offset);
  }
  partition.abortedTransactions = [];
}
