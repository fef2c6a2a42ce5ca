// Kafka's wire protocol as far as the oracle needs it: length-prefixed frames over one socket, and the integers, texts and
// arrays in them. Only versions of requests without tagged fields are spoken. What to ask is read-topic.ts's business.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** One broker; requests are answered one at a time. */
export interface Connection {
  /** Sends one request and resolves with the answer's body. */
  request(apiKey: number, version: number, body: readonly Buffer[]): Promise<Reader>;
  close(): void;
}

/** Throws when the broker can't be reached, and later when it is silent for `deadlineMs`. */
export async function openConnection(host: string, port: number, deadlineMs: number): Promise<Connection> {
  const socket = connect({ host, port, noDelay: true });
  socket.setTimeout(deadlineMs, () => socket.destroy(new Error(`${host}:${port} is silent for ${deadlineMs} ms.`)));
  await once(socket, 'connect');
  let correlation = 0;
  const read = frameReader(socket);
  return {
    async request(apiKey, version, body) {
      const id = ++correlation;
      const content = Buffer.concat([int16(apiKey), int16(version), int32(id), string('oracle'), ...body]);
      socket.write(Buffer.concat([int32(content.length), content]));
      const answer = new Reader(await read());
      if (answer.int32() !== id) throw new Error(`${host}:${port} answered another request.`);
      return answer;
    },
    close: () => socket.destroy(),
  };
}

/** Returns a function that resolves with the next length-prefixed frame; one caller at a time. */
function frameReader(socket: Socket): () => Promise<Buffer> {
  const chunks = socket[Symbol.asyncIterator]();
  let rest = Buffer.alloc(0);
  return async () => {
    const parts = [rest];
    let size = rest.length;
    const want = () => (size < 4 ? undefined : Buffer.concat(parts).readInt32BE(0) + 4);
    let wanted = want();
    while (wanted === undefined || size < wanted) {
      const { done, value } = await chunks.next();
      if (done) throw new Error('The broker closed the connection.');
      parts.push(value);
      size += value.length;
      wanted ??= want();
    }
    const all = Buffer.concat(parts);
    rest = all.subarray(wanted);
    return all.subarray(4, wanted);
  };
}

/** Takes values off an answer, in order. */
export class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  #skip(bytes: number): number {
    this.#at += bytes;
    return this.#at - bytes;
  }

  int8 = () => this.#bytes.readInt8(this.#skip(1));
  int16 = () => this.#bytes.readInt16BE(this.#skip(2));
  int32 = () => this.#bytes.readInt32BE(this.#skip(4));
  int64 = () => this.#bytes.readBigInt64BE(this.#skip(8));
  #take(size: number): Buffer | null {
    if (size < 0) return null;
    const start = this.#skip(size);
    return this.#bytes.subarray(start, start + size);
  }
  bytes = () => this.#take(this.int32());
  string = () => this.#take(this.int16())?.toString('utf8') ?? null;
  array<T>(item: () => T): T[] {
    return Array.from({ length: Math.max(0, this.int32()) }, item);
  }
}

const integer = (size: number, write: (buffer: Buffer) => void): Buffer => {
  const buffer = Buffer.alloc(size);
  write(buffer);
  return buffer;
};
const int16 = (value: number) => integer(2, (buffer) => buffer.writeInt16BE(value));
export const int32 = (value: number) => integer(4, (buffer) => buffer.writeInt32BE(value));
export const int64 = (value: bigint) => integer(8, (buffer) => buffer.writeBigInt64BE(value));
export const string = (text: string) => Buffer.concat([int16(Buffer.byteLength(text)), Buffer.from(text)]);
