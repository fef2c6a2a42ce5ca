// Which ordinal an order of a huge transaction has, by its id. A Map of a million UUID strings costs over 100 MB; this
// open-addressing table over typed arrays costs about 40 (16 bytes of id and 4 of ordinal at a load of one half), so
// that a transaction of 1,000,000 orders passes in bounded memory. It holds ids, nothing else.
const ID_WORDS = 4;
const EMPTY = 0;

/** Maps UUIDs (text, any case) to the ordinals 0, 1, 2, … in which they were added. */
export class OrderIndex {
  #capacity = 1 << 12;
  #ids = new Uint32Array(this.#capacity * ID_WORDS);
  #ordinals = new Uint32Array(this.#capacity);
  #size = 0;
  readonly #id = new Uint32Array(ID_WORDS);

  get size(): number {
    return this.#size;
  }

  /** The ordinal of an id, which is added when it is new. */
  add(uuid: string): number {
    if (this.#size * 2 >= this.#capacity) this.#grow();
    parseUuid(uuid, this.#id);
    const slot = this.#slotOf(this.#id);
    if (this.#ordinals[slot] !== EMPTY) return this.#ordinals[slot]! - 1;
    this.#ids.set(this.#id, slot * ID_WORDS);
    this.#size += 1;
    this.#ordinals[slot] = this.#size; // ordinal + 1, since 0 marks a free slot
    return this.#size - 1;
  }

  #slotOf(id: Uint32Array): number {
    const mask = this.#capacity - 1;
    let slot = hash(id) & mask;
    for (; this.#ordinals[slot] !== EMPTY; slot = (slot + 1) & mask) {
      const at = slot * ID_WORDS;
      const ids = this.#ids;
      if (ids[at] === id[0] && ids[at + 1] === id[1] && ids[at + 2] === id[2] && ids[at + 3] === id[3]) break;
    }
    return slot;
  }

  #grow(): void {
    const ids = this.#ids;
    const ordinals = this.#ordinals;
    this.#capacity *= 2;
    this.#ids = new Uint32Array(this.#capacity * ID_WORDS);
    this.#ordinals = new Uint32Array(this.#capacity);
    for (let old = 0; old < ordinals.length; old++) {
      if (ordinals[old] === EMPTY) continue;
      const id = ids.subarray(old * ID_WORDS, old * ID_WORDS + ID_WORDS);
      const slot = this.#slotOf(id);
      this.#ids.set(id, slot * ID_WORDS);
      this.#ordinals[slot] = ordinals[old]!;
    }
  }
}

function parseUuid(uuid: string, into: Uint32Array): void {
  into[0] = Number.parseInt(uuid.slice(0, 8), 16);
  into[1] = Number.parseInt(uuid.slice(9, 13) + uuid.slice(14, 18), 16);
  into[2] = Number.parseInt(uuid.slice(19, 23) + uuid.slice(24, 28), 16);
  into[3] = Number.parseInt(uuid.slice(28, 36), 16);
}

// Ids may be chosen by the writer (any UUID is legal), so every word is mixed in, with murmur3's multipliers.
function hash(id: Uint32Array): number {
  let h = 0;
  for (let i = 0; i < ID_WORDS; i++) {
    h = Math.imul(h ^ Math.imul(id[i]!, 0xcc9e2d51), 0x1b873593);
    h ^= h >>> 15;
  }
  return (h ^ (h >>> 13)) >>> 0;
}
