// Events as bytes, written by avsc from the schema file: what the reader's own writer (cdc-reader/encode/) is compared with.
import { latestOrderPlaced } from '#schemas/catalogue.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';

/** Also what no rule of `findProblem` allows, as long as the schema can hold it. */
export function encodeOrderPlaced(event: OrderPlaced): Buffer {
  const header = Buffer.of(0xc3, 0x01, 0, 0, 0, 0, 0, 0, 0, 0);
  header.writeBigUInt64LE(latestOrderPlaced.fingerprint, 2);
  return Buffer.concat([header, latestOrderPlaced.type.toBuffer(event)]);
}
