// The partition of an order follows from its user's id, so that a user's orders stay in order in one partition (I4). The
// hash is that of Kafka's Java clients: a producer in any language that partitions by key agrees. Pure; the checkpoint
// says how many partitions are in use.

/** Returns the partition of a user among `partitions`: that of Kafka's Java clients for the same key as UTF-8 text. */
export function orderPartition(userId: string, partitions: number): number {
  const key = Buffer.from(userId, 'utf8');
  return partitionOf(key, 0, key.length, partitions);
}

/** The same for the user's id as UTF-8, in `bytes` from `start` to `end`. */
export function partitionOf(bytes: Buffer, start: number, end: number, partitions: number): number {
  return (murmur2(bytes, start, end) & 0x7fffffff) % partitions;
}

/** Kafka's murmur2 as a signed 32-bit number. */
export function murmur2(data: Buffer, start = 0, end = data.length): number {
  const m = 0x5bd1e995;
  const tail = start + ((end - start) & ~3);
  let hash = 0x9747b28c ^ (end - start);
  for (let at = start; at < tail; at += 4) {
    const little = data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24);
    let word = Math.imul(little, m);
    word = Math.imul(word ^ (word >>> 24), m);
    hash = Math.imul(hash, m) ^ word;
  }
  if (end > tail) {
    for (let at = end - 1; at >= tail; at -= 1) hash ^= data[at]! << (8 * (at - tail));
    hash = Math.imul(hash, m);
  }
  hash = Math.imul(hash ^ (hash >>> 13), m);
  return hash ^ (hash >>> 15);
}
