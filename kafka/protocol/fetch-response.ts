// Decodes Fetch responses of version 11 down to the bytes of each partition's batches. Fields that nobody here uses are passed
// over. Pure; the batches are left to record-batch.ts.
import { createRequire } from 'node:module';
import type { AbortedTransaction } from './aborted-transactions.ts';

export interface FetchedPartition {
  readonly partition: number;
  readonly errorCode: number;
  readonly aborted: readonly AbortedTransaction[];
  readonly batches: Buffer;
}

export interface FetchResponse {
  readonly throttleTimeMs: number;
  readonly errorCode: number;
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

export function decodeFetchResponse(bytes: Buffer): FetchResponse {
  const response = new DecoderClass(bytes);
  const readPartition = (): FetchedPartition => {
    const partition = response.readInt32();
    const errorCode = response.readInt16();
    for (let left = 3; left > 0; left -= 1) response.readInt64(); // high watermark, last stable offset, log start
    const readAborted = () => ({ producerId: response.readInt64(), firstOffset: response.readInt64() });
    const aborted = response.readArray(readAborted);
    response.readInt32(); // preferred read replica
    return { partition, errorCode, aborted, batches: response.readBytes() ?? Buffer.alloc(0) };
  };
  const throttleTimeMs = response.readInt32();
  const errorCode = response.readInt16();
  response.readInt32(); // fetch session
  const topics = response.readArray(() => ({
    topic: response.readString()!,
    partitions: response.readArray(readPartition),
  }));
  return { throttleTimeMs, errorCode, topics };
}
