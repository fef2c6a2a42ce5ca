// The output of a decompressor, which grows as bytes come and never beyond its limit. Guarantees: memory follows the bytes
// that were really written, never a length that the input states; a copy reaches back to what was written since its
// floor and no further; reading beyond the input ends in an error. The formats are left to snappy.ts and lz4.ts.

/** What is compressed takes more than the limit once it is expanded. */
export class ExpansionLimitError extends Error {
  readonly code = 'EXPANSION_LIMIT';

  constructor(limitBytes: number) {
    super(`it takes more than ${limitBytes} bytes in memory once it is expanded`);
    this.name = 'ExpansionLimitError';
  }
}

/** The first allocation: most batches expand to less than four times their size. */
const FIRST_GROWTH = 4;
const SMALLEST_BYTES = 1_024;

export class BoundedOutput {
  readonly #limit: number;
  #bytes: Buffer;
  #length = 0;

  constructor(limit: number, inputBytes: number) {
    this.#limit = limit;
    this.#bytes = Buffer.allocUnsafe(Math.min(limit, Math.max(SMALLEST_BYTES, inputBytes * FIRST_GROWTH)));
  }

  get length(): number {
    return this.#length;
  }

  /** Appends `input` from `start` to `end` (exclusive). */
  append(input: Buffer, start: number, end: number): void {
    if (end > input.length) throw new RangeError('it ends inside of its data');
    this.#reserve(end - start);
    input.copy(this.#bytes, this.#length, start, end);
    this.#length += end - start;
  }

  /** Appends `length` bytes that begin `distance` bytes back, which may overlap what is appended; none before `floor`. */
  repeat(distance: number, length: number, floor: number): void {
    const from = this.#length - distance;
    if (distance <= 0 || from < floor) throw new RangeError('it refers to data before its start');
    this.#reserve(length);
    const bytes = this.#bytes;
    const at = this.#length;
    if (distance >= length) bytes.copyWithin(at, from, from + length);
    else for (let index = 0; index < length; index += 1) bytes[at + index] = bytes[from + index]!;
    this.#length += length;
  }

  /** What was written. */
  take(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(more: number): void {
    const wanted = this.#length + more;
    if (wanted > this.#limit) throw new ExpansionLimitError(this.#limit);
    if (wanted <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.min(this.#limit, Math.max(wanted, this.#bytes.length * 2)));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
