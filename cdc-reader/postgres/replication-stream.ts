// One connection to the walsender and one START_REPLICATION, through the library that carries the protocol, without its
// own acknowledging, flow control and parser (each loses rows). Guarantees: messages arrive in order and none while
// paused (backpressure); standby status updates go out while paused; only what was acknowledged is confirmed (I7); every
// end of the stream is one onFailure, and nothing thrown here or in a handler reaches the socket.
import type pg from 'pg';
import type { LogicalReplicationService } from 'pg-logical-replication';
import type { Lsn } from '#schemas/lsn.ts';
import { explainConnectError } from '#service/postgres/session.ts';
import { createCopySocket, type Keepalive, parseKeepalive, takeCopyData, XLOG_HEADER_BYTES } from './copy-stream.ts';
import { copyRow, type PgoutputMessage, parsePgoutput } from './pgoutput.ts';
import {
  connectionOf,
  createRawService,
  END_LIMIT_MS,
  RawPgoutput,
  type WalSenderConnection,
} from './raw-replication.ts';
import { StatusWriter } from './standby-status.ts';
import { ServerShuttingDownError, StreamLostError } from './stream-errors.ts';
import {
  explainSlotError,
  formatStartReplication,
  prepareWalSender,
  type SourceIdentity,
  type WalSenderOptions,
  walSenderConfig,
} from './walsender.ts';

export interface StreamHandlers {
  /** In stream order. The row of an insert lies in what was read, until this returns. */
  onMessage(message: PgoutputMessage): void;
  /** In stream order with the messages: all that was sent before `walEnd` has been handed over. */
  onKeepalive(keepalive: { walEnd: Lsn; replyRequested: boolean }): void;
  /** Once, and nothing after it; the connection is closed by then. Not after close(). */
  onFailure(error: Error): void;
}

export interface ReplicationStream {
  readonly identity: SourceIdentity;
  /** Stops handing over at once, and reading once the socket's buffer is full; standby status updates go on. */
  pause(): void;
  resume(): void;
  /**
   * Acknowledges everything before `throughLsn`, exactly: at once, but at most every 100 ms.
   * @throws RangeError when it goes back.
   */
  acknowledge(throughLsn: Lsn): void;
  /** LSN_ZERO, which acknowledges nothing, until the first acknowledge(). */
  readonly acknowledgedLsn: Lsn;
  /** Sends the last acknowledgement, waits up to 1 s until the server has read it and released the slot, disconnects. */
  close(): Promise<void>;
}

export interface ReplicationStreamOptions extends WalSenderOptions {
  readonly slotName: string;
  /** `slotName` is created as a temporary copy of this one, at its position. */
  readonly copyOf?: string;
  readonly publicationName: string;
  /** Set on this connection as `wal_sender_timeout`; 0 switches it off. */
  readonly walSenderTimeoutMs: number;
  readonly handlers: StreamHandlers;
}

/** For connecting and starting: a server that is there takes milliseconds, unless a decoder starts far back in the WAL. */
const START_LIMIT_MS = 10_000;
type StreamEvent = PgoutputMessage | Keepalive;

/**
 * Connects, takes the slot (which is the lock: one reader at a time) and returns the stream, paused.
 * @throws SlotBusyError, SlotMissingError, SlotLostError, SlotCopyError, or an error of Postgres or the network.
 */
export async function createReplicationStream(options: ReplicationStreamOptions): Promise<ReplicationStream> {
  const connection = new StreamConnection(options);
  await connection.start();
  return connection;
}

class StreamConnection implements ReplicationStream {
  readonly #options: ReplicationStreamOptions;
  readonly #service: LogicalReplicationService;
  readonly #status: StatusWriter;
  readonly #started = Promise.withResolvers<void>();
  /** When the server has ended the stream, for whatever reason. */
  readonly #ended = Promise.withResolvers<void>();
  /** Read from the socket when the stream was paused, in order. */
  readonly #held: StreamEvent[] = [];
  #state: 'starting' | 'streaming' | 'closing' | 'ended' = 'starting';
  #isPaused = true;
  #identity: SourceIdentity | undefined;
  #connection: WalSenderConnection | undefined;
  #closed = Promise.resolve();

  constructor(options: ReplicationStreamOptions) {
    this.#options = options;
    this.#service = createRawService({ ...walSenderConfig(options), stream: createCopySocket });
    this.#status = new StatusWriter(this.#service, options.walSenderTimeoutMs, (error) => this.#fail(error));
    this.#service.on('error', (error) => this.#fail(error));
  }

  get identity(): SourceIdentity {
    return this.#identity!;
  }
  get acknowledgedLsn(): Lsn {
    return this.#status.acknowledgedLsn;
  }

  async start(): Promise<void> {
    const onStart = (client: pg.Client) => this.#startStreaming(client);
    const plugin = new RawPgoutput(onStart);
    this.#service.subscribe(plugin, this.#options.slotName).then(
      () => this.#ended.resolve(),
      (error: Error) => this.#fail(error),
    );
    await this.#started.promise;
  }

  pause(): void {
    if (this.#isPaused || this.#state !== 'streaming') return;
    this.#isPaused = true;
    this.#status.listen(false);
    this.#connection!.stream.pause();
  }

  resume(): void {
    if (!this.#isPaused || this.#state !== 'streaming') return;
    this.#isPaused = false;
    this.#status.listen(true);
    // Not from inside the caller: it may be a handler, or not be ready for a message yet.
    setImmediate(() => this.#handOverHeld());
  }

  acknowledge(throughLsn: Lsn): void {
    this.#status.acknowledge(throughLsn);
  }

  close(): Promise<void> {
    if (this.#state === 'streaming') this.#closed = this.#disconnect();
    return this.#closed;
  }

  async #disconnect(): Promise<void> {
    this.#state = 'closing';
    this.#status.stop();
    this.#held.length = 0;
    const { stream } = this.#connection!;
    const { promise: tooLong, resolve: onLimit } = Promise.withResolvers<void>();
    const limit = setTimeout(onLimit, END_LIMIT_MS);
    // Postgres reads in order: once it has answered the end of the copy, it has taken the status and released the slot.
    this.#status.flush();
    this.#connection!.endCopyFrom();
    stream.resume();
    await Promise.race([this.#ended.promise, tooLong]);
    const stopped = this.#service.stop();
    await Promise.race([stopped, tooLong]);
    this.#state = 'ended';
    stream.destroy();
    await stopped;
    clearTimeout(limit);
  }

  /** Called by the library with its connected client; the promise lasts as long as the stream. */
  async #startStreaming(client: pg.Client): Promise<unknown> {
    const { slotName, publicationName } = this.#options;
    const connection = connectionOf(client);
    this.#connection = connection;
    const limit = setTimeout(() => {
      this.#fail(new StreamLostError(`Postgres did not start the stream of ${slotName} within ${START_LIMIT_MS} ms.`));
    }, START_LIMIT_MS);
    try {
      this.#identity = await prepareWalSender(client, this.#options);
      takeCopyData(connection.stream, {
        onRead: () => this.#status.heard(),
        onCopyData: (bytes, start, end) => this.#onCopyData(bytes, start, end),
      });
      connection.once('replicationStart', () => {
        clearTimeout(limit);
        connection.stream.pause();
        this.#state = 'streaming';
        this.#status.start();
        this.#started.resolve();
        // The server ended the copy; pg would only report that the connection broke.
        connection.once('commandComplete', () => {
          if (this.#state === 'streaming') this.#fail(new ServerShuttingDownError(undefined));
        });
      });
      return await client.query(formatStartReplication(slotName, publicationName));
    } catch (error) {
      throw this.#state === 'starting' ? await explainSlotError(client, slotName, error) : error;
    } finally {
      clearTimeout(limit);
    }
  }

  #onCopyData(bytes: Buffer, start: number, end: number): void {
    if (this.#state !== 'streaming') return;
    this.#guard(() => {
      const keepalive = parseKeepalive(bytes, start, end);
      if (keepalive === undefined) this.#handOver(parsePgoutput(bytes, start + XLOG_HEADER_BYTES, end));
      else {
        this.#status.keepalive(keepalive);
        this.#handOver(keepalive);
        this.#status.respond();
      }
    });
  }

  #guard(handle: () => void): void {
    try {
      handle();
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #handOver(event: StreamEvent): void {
    if (this.#isPaused) this.#held.push(event.kind === 'insert' ? copyRow(event) : event);
    else if (event.kind === 'keepalive') this.#options.handlers.onKeepalive(event);
    else this.#options.handlers.onMessage(event);
  }

  #handOverHeld(): void {
    this.#guard(() => {
      while (this.#state === 'streaming' && !this.#isPaused && this.#held.length > 0) {
        this.#handOver(this.#held.shift()!);
      }
    });
    if (this.#state === 'streaming' && !this.#isPaused) this.#connection!.stream.resume();
  }

  #fail(error: Error): void {
    const state = this.#state;
    if (state === 'closing') this.#ended.resolve();
    if (state !== 'starting' && state !== 'streaming') return;
    this.#state = 'ended';
    this.#status.stop();
    this.#held.length = 0;
    // Without this, a paused socket would keep its unread bytes and never close.
    this.#connection?.stream.destroy();
    void this.#service.stop().then(() => {
      if (state === 'starting') this.#started.reject(explainConnectError(error));
      else this.#options.handlers.onFailure(error);
    });
  }
}
