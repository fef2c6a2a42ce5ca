// Replaces what kafkajs does wrong at run time, once for all clients of the process: its idle timers, and its reading of
// aborted transactions. Guarantees: what is replaced is kafkajs's own code path, so that whoever uses its clients gets it;
// installing again changes nothing. Unit tests hold the patches to the installed version's shapes, contract tests tell
// when kafkajs no longer needs them.

import { createRequire } from 'node:module';
import { createAbortedRecords, isAbortMarkerKey } from '#service/kafka-aborted.ts';

const require = createRequire(import.meta.url);

export function installKafkajsPatches(): void {
  patchRequestQueue();
  patchFetchAnswers();
}

interface RequestQueue {
  pending: unknown[];
  throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  checkPendingRequests(): void;
}

const throttleCheckMs = 10;

/**
 * kafkajs arms a timer after every answer although nothing waits, with a negative delay that Node makes 1 ms and warns
 * about, and each run arms the next: 6 % of a core for idle connections (trap 12). Only requests that wait need it.
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
      throttledMs > 0 ? throttledMs : throttleCheckMs,
    );
  };
}

/** A partition's part of a fetch answer, as kafkajs decodes it. */
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

/** The versions of Fetch that kafkajs speaks and that tell of aborted transactions. */
const FETCH_VERSIONS = [4, 5, 6, 7, 8, 9, 10, 11];

/**
 * kafkajs's read_committed hands over aborted records where aborted transactions of two producers overlap, and takes a
 * record whose key is four zero bytes for an abort marker (trap 4). So aborted records are found here, by the rule of
 * Kafka's Java consumer, and passed off as control records, which kafkajs counts and hands to nobody.
 */
function patchFetchAnswers(): void {
  for (const version of FETCH_VERSIONS) {
    const response = require(`kafkajs/src/protocol/requests/fetch/v${version}/response`) as FetchResponse;
    const { decode } = response;
    if (decode.isPatched) continue;
    response.decode = Object.assign(
      async (bytes: Buffer) => {
        const answer = await decode(bytes);
        for (const { partitions } of answer.responses) partitions.forEach(hideAbortedMessages);
        return answer;
      },
      { isPatched: true as const },
    );
  }
}

/** Under read_uncommitted the answer names no aborted transaction, and nothing is hidden. */
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
