// Expands LZ4 frames, the format of Kafka's lz4 since message format v2. Guarantees: every read is within the input; the
// content size that a frame may state is passed over. Checksums are not verified, since the batch has its own. Dictionaries
// are refused: Kafka has none.
import { BoundedOutput } from './bounded-output.ts';

const FRAME_MAGIC = 0x184d2204;
const VERSION_MASK = 0xc0;
const VERSION_1 = 0x40;
const BLOCK_CHECKSUM = 0x10;
const CONTENT_SIZE = 0x08;
const CONTENT_CHECKSUM = 0x04;
const DICTIONARY_ID = 0x01;
const UNCOMPRESSED = 0x8000_0000;
const SHORTEST_MATCH = 4;

/** @throws ExpansionLimitError, RangeError for what is not LZ4 */
export function expandLz4(input: Buffer, limit: number): Buffer {
  const output = new BoundedOutput(limit, input.length);
  for (let at = 0; at < input.length; ) at = expandFrame(input, at, output);
  return output.take();
}

/** Expands the frame at `start` and returns its end. */
function expandFrame(input: Buffer, start: number, output: BoundedOutput): number {
  if (input.readUInt32LE(start) !== FRAME_MAGIC) throw new RangeError('it is not an LZ4 frame');
  const flags = input.readUInt8(start + 4);
  if ((flags & VERSION_MASK) !== VERSION_1) throw new RangeError('its LZ4 frame has an unknown version');
  if ((flags & DICTIONARY_ID) !== 0) throw new RangeError('its LZ4 frame needs a dictionary');
  const floor = output.length; // blocks may refer to earlier ones of their frame
  let at = start + 7 + ((flags & CONTENT_SIZE) !== 0 ? 8 : 0);
  for (;;) {
    const header = input.readUInt32LE(at);
    at += 4;
    if (header === 0) break;
    const end = at + (header & ~UNCOMPRESSED);
    if (end > input.length) throw new RangeError('a block of it is longer than its data');
    if (header >= UNCOMPRESSED) output.append(input, at, end);
    else expandBlock(input.subarray(at, end), output, floor);
    at = end + ((flags & BLOCK_CHECKSUM) !== 0 ? 4 : 0);
  }
  return at + ((flags & CONTENT_CHECKSUM) !== 0 ? 4 : 0);
}

function expandBlock(block: Buffer, output: BoundedOutput, floor: number): void {
  let at = 0;
  /** A length of 15 goes on in bytes of 255, and ends with one that is less. */
  const readLength = (nibble: number): number => {
    let length = nibble;
    for (let byte = nibble === 15 ? 255 : 0; byte === 255; length += byte) byte = block.readUInt8(at++);
    return length;
  };
  for (;;) {
    const token = block.readUInt8(at++);
    const literals = readLength(token >>> 4);
    output.append(block, at, at + literals);
    at += literals;
    if (at === block.length) return; // the last sequence has literals only
    const distance = block.readUInt16LE(at);
    at += 2;
    output.repeat(distance, readLength(token & 15) + SHORTEST_MATCH, floor);
  }
}
