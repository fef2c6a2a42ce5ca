// The partition of an order follows from its user's id, so that a user's orders stay in order in one partition (I4). The
// hash is that of Kafka's Java clients: a producer in any language that partitions by key agrees. Pure; the checkpoint
// says how many partitions are in use.

/** Returns the partition of a user among `partitions`: that of Kafka's Java clients for the same key as UTF-8 text. */
export function orderPartition(userId: string, partitions: number): number {
  return (murmur2(Buffer.from(userId, 'utf8')) & 0x7fffffff) % partitions;
}

/** Kafka's murmur2 as a signed 32-bit number. */
export function murmur2(data: Buffer): number {
  const m = 0x5bd1e995;
  const tail = data.length & ~3;
  let hash = 0x9747b28c ^ data.length;
  for (let index = 0; index < tail; index += 4) {
    let word = Math.imul(data.readInt32LE(index), m);
    word = Math.imul(word ^ (word >>> 24), m);
    hash = Math.imul(hash, m) ^ word;
  }
  if (data.length > tail) {
    for (let index = data.length - 1; index >= tail; index -= 1) hash ^= data[index]! << (8 * (index - tail));
    hash = Math.imul(hash, m);
  }
  hash = Math.imul(hash ^ (hash >>> 13), m);
  return hash ^ (hash >>> 15);
}
