/**
 * Every version of `OrderPlaced` that was ever published (I9), found by the fingerprint in an event's first bytes.
 *
 * A new version is a new `order-placed.vN.avsc` beside this file (docs/changing-the-event.md); none is ever removed or
 * edited, because events written with it stay in Kafka. Resolvers from older versions to the latest are built once here:
 * one takes 300 µs. The fingerprint is CRC-64-AVRO over the parsing canonical form, as the Avro specification defines it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { Type } from 'avsc';
import { parseAvroSchema } from './avro/avro-type.ts';

type Resolver = ReturnType<Type['createResolver']>;

/** The fingerprint of no bytes, and the polynomial. */
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

export interface SchemaVersion {
  readonly version: number;
  /** CRC-64-AVRO of the parsing canonical form, unsigned. */
  readonly fingerprint: bigint;
  readonly type: Type;
  /** Reads bytes written with this version as the latest one; undefined for the latest itself. */
  readonly resolver: Resolver | undefined;
}

const versionOf = (file: string) => Number(/^order-placed\.v(\d+)\.avsc$/.exec(file)?.[1]);
/** Oldest first. */
const FILES = readdirSync(import.meta.dirname)
  .filter((file) => versionOf(file) > 0)
  .sort((a, b) => versionOf(a) - versionOf(b));

/** The versions made of schema texts, oldest first, each readable as the last one. */
export function createCatalogue(schemas: readonly string[]): readonly SchemaVersion[] {
  const types = schemas.map(parseAvroSchema);
  const latest = types.at(-1);
  return types.map((type, index) => ({
    version: index + 1,
    // Without its options, `schema()` gives the parsing canonical form.
    fingerprint: crc64Avro(Buffer.from(JSON.stringify(type.schema()))),
    type,
    resolver: type === latest ? undefined : latest?.createResolver(type),
  }));
}

/** All versions, oldest first; the last one is written. */
export const orderPlacedVersions = createCatalogue(
  FILES.map((file) => readFileSync(new URL(file, import.meta.url), 'utf8')),
);

export const latestOrderPlaced: SchemaVersion = orderPlacedVersions.at(-1)!;

const versionsByFingerprint = new Map(orderPlacedVersions.map((version) => [version.fingerprint, version]));

export function findOrderPlacedVersion(fingerprint: bigint): SchemaVersion | undefined {
  return versionsByFingerprint.get(fingerprint);
}
