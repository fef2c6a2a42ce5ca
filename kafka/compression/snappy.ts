// Expands snappy, as Kafka's clients write it: Java's with the xerial framing (a header, then blocks with their lengths),
// others one block alone. Guarantees: every read is within the input, and the stated lengths are only compared, never
// allocated by. Checksums are none: the batch has its own.
import { BoundedOutput } from './bounded-output.ts';

const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
/** The magic, a version and the oldest compatible version. */
const XERIAL_HEADER_BYTES = 16;

/** @throws ExpansionLimitError, RangeError for what is not snappy */
export function expandSnappy(input: Buffer, limit: number): Buffer {
  const output = new BoundedOutput(limit, input.length);
  if (!input.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC)) {
    expandBlock(input, output);
    return output.take();
  }
  for (let at = XERIAL_HEADER_BYTES; at < input.length; ) {
    // Streams that were written one after the other are one stream with a header in between.
    if (input.subarray(at, at + XERIAL_MAGIC.length).equals(XERIAL_MAGIC)) {
      at += XERIAL_HEADER_BYTES;
      continue;
    }
    const end = at + 4 + input.readInt32BE(at);
    if (end < at + 4 || end > input.length) throw new RangeError('a block of it is longer than its data');
    expandBlock(input.subarray(at + 4, end), output);
    at = end;
  }
  return output.take();
}

const LITERAL = 0;
const COPY_1 = 1;
const COPY_2 = 2;

function expandBlock(block: Buffer, output: BoundedOutput): void {
  const floor = output.length;
  let at = 0;
  let stated = 0;
  for (let shift = 0; ; shift += 7) {
    if (shift > 28) throw new RangeError('the length of a block has more than 32 bits');
    const byte = block.readUInt8(at++);
    stated += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
  }
  while (at < block.length) {
    const tag = block[at++]!;
    const upper = tag >>> 2;
    switch (tag & 3) {
      case LITERAL: {
        // From 60 on, the length is in the one to four bytes that follow.
        const lengthBytes = Math.max(0, upper - 59);
        const length = (lengthBytes === 0 ? upper : block.readUIntLE(at, lengthBytes)) + 1;
        at += lengthBytes;
        output.append(block, at, at + length);
        at += length;
        break;
      }
      case COPY_1:
        output.repeat(((tag >>> 5) << 8) | block.readUInt8(at), (upper & 7) + 4, floor);
        at += 1;
        break;
      case COPY_2:
        output.repeat(block.readUInt16LE(at), upper + 1, floor);
        at += 2;
        break;
      default:
        output.repeat(block.readUInt32LE(at), upper + 1, floor);
        at += 4;
    }
    if (output.length - floor > stated) throw new RangeError('a block of it holds more than it states');
  }
  if (output.length - floor !== stated) throw new RangeError('a block of it holds less than it states');
}
