/**
 * Every version of `OrderPlaced` that was ever published (I9), found by the fingerprint in an event's first bytes.
 *
 * A new version is a new `.avsc` file and a new line below; nothing is ever removed or edited, because events written
 * with it stay in Kafka. Resolvers from older versions to the latest are built once here: one takes 300 µs.
 */
import { readFileSync } from 'node:fs';
import type { Type } from 'avsc';
import { parseAvroSchema } from './avro-type.ts';
import { crc64Avro } from './fingerprint.ts';

type Resolver = ReturnType<Type['createResolver']>;

export interface SchemaVersion {
  readonly version: number;
  /** CRC-64-AVRO of the parsing canonical form, unsigned. */
  readonly fingerprint: bigint;
  readonly type: Type;
  /** Reads bytes written with this version as the latest one; undefined for the latest itself. */
  readonly resolver: Resolver | undefined;
}

/** Oldest first. */
const FILES = ['order-placed.v1.avsc'];

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
