// CRC-32C (Castagnoli), the checksum of every Kafka record batch; Node's zlib has only the other CRC-32. Slicing by eight:
// a table for each of eight bytes holds its effect on the sum seven, six … zero bytes later. Pure.

const POLYNOMIAL = 0x82f63b78;
const tables = Array.from({ length: 8 }, () => new Int32Array(256));

for (let byte = 0; byte < 256; byte += 1) {
  let sum = byte;
  for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ POLYNOMIAL : sum >>> 1;
  tables[0]![byte] = sum;
}
for (let table = 1; table < 8; table += 1) {
  for (let byte = 0; byte < 256; byte += 1) {
    const sum = tables[table - 1]![byte]!;
    tables[table]![byte] = (sum >>> 8) ^ tables[0]![sum & 0xff]!;
  }
}
const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/** The CRC-32C of `bytes` from `start` to `end` (exclusive), unsigned. */
export function crc32c(bytes: Buffer, start = 0, end = bytes.length): number {
  let sum = -1;
  let at = start;
  for (; at + 8 <= end; at += 8) {
    sum ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    sum =
      t7[sum & 0xff]! ^
      t6[(sum >>> 8) & 0xff]! ^
      t5[(sum >>> 16) & 0xff]! ^
      t4[sum >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!;
  }
  for (; at < end; at += 1) sum = (sum >>> 8) ^ t0[(sum ^ bytes[at]!) & 0xff]!;
  return (sum ^ -1) >>> 0;
}
