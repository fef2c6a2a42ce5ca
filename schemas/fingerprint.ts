/**
 * CRC-64-AVRO, the fingerprint by which a reader of an event finds the schema that it was written with.
 *
 * The Avro specification's "schema fingerprints": a Rabin fingerprint over the parsing canonical form, table-driven,
 * one step a byte. It runs once a schema, at start; nothing here needs to be fast.
 */
const EMPTY = 0xc15d213aa4d7a795n;

const TABLE: readonly bigint[] = Array.from({ length: 256 }, (_, index) => {
  let fingerprint = BigInt(index);
  for (let bit = 0; bit < 8; bit++) {
    fingerprint = (fingerprint >> 1n) ^ (fingerprint & 1n ? EMPTY : 0n);
  }
  return fingerprint;
});

/** The 64-bit fingerprint of `bytes` as an unsigned number. */
export function crc64Avro(bytes: Uint8Array): bigint {
  let fingerprint = EMPTY;
  for (const byte of bytes) {
    fingerprint = (fingerprint >> 8n) ^ TABLE[Number((fingerprint ^ BigInt(byte)) & 0xffn)]!;
  }
  return fingerprint;
}
