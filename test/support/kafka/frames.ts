// Tells Kafka's requests and answers apart for the hooks of network/tcp-proxy.ts, so that a test can say "hold the answer to the
// next EndTxn". It reads only the frame: length, api key, correlation id. A chunk may hold several frames or part of one,
// so each direction of each connection has a reader with a memory of its own.

/** The api keys that tests break most. */
export const kafkaApi = {
  produce: 0,
  fetch: 1,
  findCoordinator: 10,
  joinGroup: 11,
  heartbeat: 12,
  initProducerId: 22,
  addPartitionsToTxn: 24,
  endTxn: 26,
} as const;

/** A frame that starts in the chunk just read, at `startByte` of that chunk. */
export type KafkaRequest = { apiKey: number; correlationId: number; startByte: number };
export type KafkaAnswer = { correlationId: number; startByte: number };

const headBytes = 12;

/** Returns a function to be given every chunk that one connection's client sends; it returns the requests starting there. */
export function createKafkaRequestReader(): (chunk: Buffer) => KafkaRequest[] {
  const readFrames = createFrameReader();
  return (chunk) =>
    readFrames(chunk).map(({ head, startByte }) => ({
      apiKey: head.readInt16BE(4),
      correlationId: head.readInt32BE(8),
      startByte,
    }));
}

/** The same for what the server sends. */
export function createKafkaAnswerReader(): (chunk: Buffer) => KafkaAnswer[] {
  const readFrames = createFrameReader();
  return (chunk) => readFrames(chunk).map(({ head, startByte }) => ({ correlationId: head.readInt32BE(4), startByte }));
}

/** A frame is reported once its head is complete; one whose head is split starts at byte 0 of the chunk that completes it. */
function createFrameReader(): (chunk: Buffer) => { head: Buffer; startByte: number }[] {
  let restBytes = 0;
  let partialHead = Buffer.alloc(0);
  return (chunk) => {
    const frames: { head: Buffer; startByte: number }[] = [];
    let at = Math.min(restBytes, chunk.length);
    restBytes -= at;
    while (at < chunk.length) {
      const head = Buffer.concat([partialHead, chunk.subarray(at, at + headBytes - partialHead.length)]);
      const lengthBytes = head.length >= 4 ? head.readInt32BE(0) + 4 : headBytes;
      if (head.length < Math.min(headBytes, lengthBytes)) {
        partialHead = head;
        break;
      }
      frames.push({ head, startByte: at });
      const frameRestBytes = lengthBytes - partialHead.length;
      partialHead = Buffer.alloc(0);
      restBytes = Math.max(0, frameRestBytes - (chunk.length - at));
      at += frameRestBytes;
    }
    return frames;
  };
}
