/**
 * `OrderPlaced` from bytes: Avro single-object encoding, that is C3 01, the fingerprint of the writer's schema
 * (little endian), the body.
 *
 * Guarantees (I9): whatever was written decodes for ever; whatever bytes come in, decoding ends with an event that can
 * be applied, or with one of two errors: malformed (can never succeed) or unknown schema (a newer reader will succeed).
 * Error messages name fields, never their values.
 */

import { readOrderPlaced } from './avro/read-order-placed.ts';
import { findOrderPlacedVersion, latestOrderPlaced } from './catalogue.ts';
import type { OrderPlaced } from './order-placed.ts';
import { findProblem } from './order-placed.ts';

const latest = latestOrderPlaced;

/** The bytes are no event that could ever be applied. */
export class MalformedEventError extends Error {
  readonly code = 'MALFORMED_EVENT';
  override readonly name = 'MalformedEventError';
}

/** The bytes were written with a schema that this program does not have. */
export class UnknownSchemaError extends Error {
  readonly code = 'UNKNOWN_SCHEMA';
  override readonly name = 'UnknownSchemaError';
  readonly fingerprint: bigint;

  constructor(fingerprint: bigint) {
    const hex = fingerprint.toString(16).padStart(16, '0');
    super(
      `no schema with fingerprint ${hex} in schemas/: deploy the version of this program that has it, then restart`,
    );
    this.fingerprint = fingerprint;
  }
}

const HEADER_BYTES = 10;
/** What the events of the latest version begin with. */
const latestHeader = Buffer.of(0xc3, 0x01, 0, 0, 0, 0, 0, 0, 0, 0);
latestHeader.writeBigUInt64LE(latest.fingerprint, 2);

/**
 * The event in `bytes`, whichever published version wrote it, with ids in lower case.
 * @throws MalformedEventError or UnknownSchemaError
 */
export function decodeOrderPlaced(bytes: Buffer): OrderPlaced {
  return readDirectly(bytes) ?? decodeByAvsc(bytes);
}

/** As {@link decodeOrderPlaced}, whatever form the bytes have: this decides what is refused, and why. */
export function decodeByAvsc(bytes: Buffer): OrderPlaced {
  const event = parseByAvsc(bytes);
  const problem = findProblem(event);
  if (problem !== undefined) throw new MalformedEventError(`${problem.field}: expected ${problem.expected}`);
  return event;
}

/** As {@link decodeOrderPlaced}, without the rules of `findProblem`: what the writer of an event has of it. */
export function parseOrderPlaced(bytes: Buffer): OrderPlaced {
  return readDirectly(bytes) ?? parseByAvsc(bytes);
}

/** Undefined for other versions than the latest, and for what {@link readOrderPlaced} leaves. */
function readDirectly(bytes: Buffer): OrderPlaced | undefined {
  for (let index = 0; index < HEADER_BYTES; index += 1) if (bytes[index] !== latestHeader[index]) return undefined;
  return readOrderPlaced(bytes, HEADER_BYTES);
}

function parseByAvsc(bytes: Buffer): OrderPlaced {
  if (bytes.length < HEADER_BYTES || bytes[0] !== 0xc3 || bytes[1] !== 0x01) {
    throw new MalformedEventError('no Avro single-object encoding: expected C3 01 and 8 bytes of fingerprint');
  }
  const fingerprint = bytes.readBigUInt64LE(2);
  const version = fingerprint === latest.fingerprint ? latest : findOrderPlacedVersion(fingerprint);
  if (version === undefined) throw new UnknownSchemaError(fingerprint);
  return readBody(bytes, version);
}

function readBody(bytes: Buffer, version: typeof latest): OrderPlaced {
  let decoded: { value: OrderPlaced; offset: number };
  try {
    decoded = latest.type.decode(bytes, HEADER_BYTES, version.resolver);
  } catch (cause) {
    // What the same bytes did once they do always: this is not a fault that passes.
    throw new MalformedEventError(`the body does not match schema version ${version.version}`, { cause });
  }
  const { value, offset } = decoded;
  if (offset < 0) throw new MalformedEventError('the body is truncated');
  if (offset < bytes.length) throw new MalformedEventError(`${bytes.length - offset} bytes follow the body`);
  return toPlainEvent(value);
}

/** avsc's record instances as plain objects; any case of UUID becomes the one that databases print. */
function toPlainEvent(value: OrderPlaced): OrderPlaced {
  return {
    ...value,
    orderId: value.orderId.toLowerCase(),
    items: value.items.map((item) => ({ ...item, cartLineId: item.cartLineId?.toLowerCase() ?? null })),
  };
}
