// The types of Kafka's flexible request versions (KIP-482): lengths as varints that count one more, so that 0 is null, and tagged
// fields behind everything. kafkajs has no flexible versions. Pure; what a request consists of is its own file's.

export const NO_TAGS = Buffer.from([0]);

/** An unsigned varint; also the length of an array, of one more than it has. */
export function encodeVarint(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 0x80; left >>>= 7) bytes.push((left & 0x7f) | 0x80);
  return Buffer.from([...bytes, left]);
}

export function encodeCompactString(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([encodeVarint(bytes.length + 1), bytes]);
}

/** Each method reads what comes next. @throws RangeError if the bytes end too early */
export class CompactReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  int16(): number {
    return this.take(2).readInt16BE();
  }

  int32(): number {
    return this.take(4).readInt32BE();
  }

  int64(): bigint {
    return this.take(8).readBigInt64BE();
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new RangeError('a response of Kafka ends too early');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.take(1).readUInt8();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError('a length in a response of Kafka is longer than 32 bits');
  }

  /** Null becomes empty. */
  string(): string {
    return this.take(Math.max(0, this.varint() - 1)).toString('utf8');
  }

  /** Null becomes empty. `readOne` reads an element without the tags behind it. */
  array<T>(readOne: () => T): T[] {
    const found: T[] = [];
    for (let left = this.varint() - 1; left > 0; left -= 1) {
      found.push(readOne());
      this.skipTags();
    }
    return found;
  }

  skipTags(): void {
    for (let left = this.varint(); left > 0; left -= 1) {
      this.varint();
      this.take(this.varint());
    }
  }
}
