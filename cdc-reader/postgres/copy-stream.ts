// The copy stream of a walsender: takes CopyData messages off a connection of pg's, and leaves all others to pg. Guarantees:
// messages in order, each whole, as a part of the bytes that were read: whoever keeps some of it copies it. The walsender
// sends each row by itself. pg and the library would make five objects and four strings of it, and Node a buffer of 64 kB for
// each read: together more than half of the reader's time. What is in a message is pgoutput.ts's.
import { Socket } from 'node:net';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { PgoutputFormatError } from './pgoutput.ts';

const COPY_DATA = 0x64; // d
/** The kind, and the length, which counts itself and not the kind (protocol documentation, "Message Formats"). */
const HEADER_BYTES = 5;

const XLOG_DATA = 0x77; // w
const KEEPALIVE = 0x6b; // k
/** The kind, the start of the WAL in it, the end of the server's WAL, and the server's clock. */
export const XLOG_HEADER_BYTES = 25;
/** The kind, the end of the server's WAL, its clock, and whether a reply is requested. */
const KEEPALIVE_BYTES = 18;

export interface Keepalive {
  readonly kind: 'keepalive';
  readonly walEnd: Lsn;
  readonly replyRequested: boolean;
}

/**
 * The keepalive that a CopyData message holds (protocol documentation, "Streaming Replication Protocol"); undefined where
 * it holds XLogData, whose message lies behind its header. @throws PgoutputFormatError for anything else
 */
export function parseKeepalive(bytes: Buffer, start: number, end: number): Keepalive | undefined {
  if (bytes[start] === XLOG_DATA && end - start > XLOG_HEADER_BYTES) return undefined;
  if (bytes[start] !== KEEPALIVE || end - start !== KEEPALIVE_BYTES) {
    throw new PgoutputFormatError(bytes.subarray(start, end), 'is no message of the streaming replication protocol');
  }
  return {
    kind: 'keepalive',
    walEnd: toLsn(bytes.readBigUInt64BE(start + 1)),
    replyRequested: bytes[start + 17] !== 0,
  };
}

export interface CopyReceiver {
  /** Bytes have come. */
  onRead(): void;
  /** The content of a message lies from `start` to `end`, until this returns. Must not throw: nobody would catch it. */
  onCopyData(bytes: Buffer, start: number, end: number): void;
}

/** What Node allocates for a read. */
const READ_BYTES = 64 * 1024;

/** Where the bytes go that such a socket reads. */
const receivers = new WeakMap<object, { receive: ((read: Buffer) => void) | undefined }>();

/** A socket whose reads all land in one piece of memory, once {@link takeCopyData} has taken it; as any other until then. */
export function createCopySocket(): Socket {
  const reads: { receive: ((read: Buffer) => void) | undefined } = { receive: undefined };
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  const callback = (length: number): boolean => {
    const read = buffer.subarray(0, length);
    if (reads.receive !== undefined) reads.receive(read);
    else socket.emit('data', Buffer.from(read));
    return true;
  };
  const socket: Socket = new Socket({ onread: { buffer, callback } });
  receivers.set(socket, reads);
  return socket;
}

/** To be called between two commands of the connection, when pg has no half of a message. */
export function takeCopyData(
  socket: Pick<Socket, 'on' | 'listeners' | 'removeListener'>,
  { onRead, onCopyData }: CopyReceiver,
): void {
  const [pg] = socket.listeners('data') as ((bytes: Buffer) => void)[];
  if (pg === undefined) throw new Error('The connection has no parser: pg has changed how it reads its socket.');
  /** The beginning of a message, in the pieces in which it came, and how long it must be before it can be read. */
  let pieces: Buffer[] = [];
  let held = 0;
  let needed = HEADER_BYTES;

  const receive = (read: Buffer): void => {
    onRead();
    if (held + read.length < needed) {
      pieces.push(keep(read));
      held += read.length;
      return;
    }
    const bytes = pieces.length === 0 ? read : Buffer.concat([...pieces, read]);
    let at = 0;
    needed = HEADER_BYTES;
    while (at + HEADER_BYTES <= bytes.length) {
      const end = at + 1 + bytes.readUInt32BE(at + 1);
      if (end > bytes.length) {
        needed = end - at;
        break;
      }
      if (bytes[at] === COPY_DATA) onCopyData(bytes, at + HEADER_BYTES, end);
      else pg(bytes.subarray(at, end));
      at = end;
    }
    pieces = at < bytes.length ? [keep(bytes.subarray(at))] : [];
    held = bytes.length - at;
  };
  const reads = receivers.get(socket);
  const keep = reads === undefined ? (bytes: Buffer) => bytes : (bytes: Buffer) => Buffer.from(bytes);
  if (reads === undefined) socket.on('data', receive);
  else reads.receive = receive;
  socket.removeListener('data', pg);
}
