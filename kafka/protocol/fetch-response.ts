// Decodes Fetch responses down to the bytes of each partition's batches, in the versions that kafkajs speaks and that list
// aborted transactions. Fields that nobody here uses are passed over. Pure; the batches are left to record-batch.ts.
import { createRequire } from 'node:module';
import type { AbortedTransaction } from './aborted-transactions.ts';

export interface FetchedPartition {
  readonly partition: number;
  readonly errorCode: number;
  readonly highWatermark: bigint;
  readonly lastStableOffset: bigint;
  readonly aborted: readonly AbortedTransaction[];
  readonly preferredReadReplica: number;
  readonly batches: Buffer;
}

export interface FetchResponse {
  readonly throttleTimeMs: number;
  readonly errorCode: number;
  readonly sessionId: number;
  readonly topics: readonly { readonly topic: string; readonly partitions: readonly FetchedPartition[] }[];
}

interface Decoder {
  readInt16(): number;
  readInt32(): number;
  readInt64(): bigint;
  readString(): string | null;
  readBytes(): Buffer | null;
  readArray<T>(read: () => T): T[];
}

const DecoderClass = createRequire(import.meta.url)('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => Decoder;

export const FETCH_VERSIONS = [4, 5, 6, 7, 8, 9, 10, 11] as const;
const WITH_LOG_START = 5;
const WITH_SESSIONS = 7;
const WITH_READ_REPLICA = 11;
const NO_REPLICA = -1;

export function decodeFetchResponse(bytes: Buffer, version: (typeof FETCH_VERSIONS)[number]): FetchResponse {
  const response = new DecoderClass(bytes);
  const readPartition = (): FetchedPartition => {
    const partition = response.readInt32();
    const errorCode = response.readInt16();
    const highWatermark = response.readInt64();
    const lastStableOffset = response.readInt64();
    if (version >= WITH_LOG_START) response.readInt64();
    const readAborted = () => ({ producerId: response.readInt64(), firstOffset: response.readInt64() });
    return {
      partition,
      errorCode,
      highWatermark,
      lastStableOffset,
      aborted: response.readArray(readAborted),
      preferredReadReplica: version >= WITH_READ_REPLICA ? response.readInt32() : NO_REPLICA,
      batches: response.readBytes() ?? Buffer.alloc(0),
    };
  };
  return {
    throttleTimeMs: response.readInt32(),
    errorCode: version >= WITH_SESSIONS ? response.readInt16() : 0,
    sessionId: version >= WITH_SESSIONS ? response.readInt32() : 0,
    topics: response.readArray(() => ({
      topic: response.readString()!,
      partitions: response.readArray(readPartition),
    })),
  };
}
