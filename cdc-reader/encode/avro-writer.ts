// Avro's binary encoding of what an event consists of, written one value after another into large pieces of memory, from
// where each event gets its part. Guarantees: bytes are those of the Avro specification (zigzag varints of 64 bits, text
// as length and UTF-8); what was handed out is never written again. The schema's order of fields is the caller's.

/** Some thousand events; released when the last of them is. */
const SLAB_BYTES = 256 * 1024;
/** Below this, twice the number is exact in a double. */
const LARGEST_EXACT = 2 ** 52;
/** Up to here a loop is faster than a call of the runtime's. */
const SHORT_TEXT_BYTES = 64;

export class AvroWriter {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #start = 0;
  #at = 0;

  /** Begins an event of at most `bytes` bytes; one that was begun and not ended is forgotten. */
  begin(bytes: number): void {
    if (this.#slab.length - this.#start < bytes) {
      this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes));
      this.#start = 0;
    }
    this.#at = this.#start;
  }

  /** Where the event that was begun lies; it is kept by {@link end}. */
  get bytes(): Buffer {
    return this.#slab;
  }

  get start(): number {
    return this.#start;
  }

  /** Behind what was written. */
  get position(): number {
    return this.#at;
  }

  end(): void {
    this.#start = this.#at;
  }

  /** Bytes as they are. */
  raw(bytes: Buffer): void {
    for (const byte of bytes) this.#slab[this.#at++] = byte;
  }

  /** An int or a long, within its range. */
  long(value: number | bigint): void {
    const slab = this.#slab;
    let at = this.#at;
    if (value < LARGEST_EXACT && value > -LARGEST_EXACT) {
      const number = Number(value);
      let rest = number < 0 ? -number * 2 - 1 : number * 2;
      while (rest >= 2 ** 31) {
        slab[at++] = (rest % 128) | 0x80;
        rest = Math.floor(rest / 128);
      }
      for (; rest > 0x7f; rest >>>= 7) slab[at++] = (rest & 0x7f) | 0x80;
      slab[at++] = rest;
    } else {
      const exact = BigInt(value);
      let rest = BigInt.asUintN(64, (exact << 1n) ^ (exact >> 63n));
      for (; rest > 0x7fn; rest >>= 7n) slab[at++] = Number(rest & 0x7fn) | 0x80;
      slab[at++] = Number(rest);
    }
    this.#at = at;
  }

  /** The text in `bytes` from `start` to `end`. @returns whether it is ASCII; if not, whether it is UTF-8 is open. */
  text(bytes: Buffer, start: number, end: number): boolean {
    this.long(end - start);
    const slab = this.#slab;
    let at = this.#at;
    let bits = 0;
    if (end - start <= SHORT_TEXT_BYTES) {
      for (let from = start; from < end; from++) {
        const byte = bytes[from]!;
        slab[at++] = byte;
        bits |= byte;
      }
    } else {
      at += bytes.copy(slab, at, start, end);
      bits = 0x80;
    }
    this.#at = at;
    return bits < 0x80;
  }
}
