// Standby status updates: when to send one, with which LSN, and when to give a connection up.
// StandbyStatus decides, on a clock that is an argument; StatusWriter carries it out with the one timer. Guarantees: what
// goes on the wire is exactly the acknowledged position, never more and never backwards (I7); a requested reply is sent, at
// most every 100 ms, whether or not the socket is read; a server in fast shutdown is not kept waiting for what can't be
// acknowledged. This is the one module that knows that the library sends one more than it is given.
import type { LogicalReplicationService } from 'pg-logical-replication';
import { formatLsn, LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import { ServerShuttingDownError, StreamLostError } from './stream-errors.ts';

/** The least time between two statuses: a server in shutdown requests the next reply as soon as it has one. */
const SHORTEST_INTERVAL_MS = 100;
/** The longest silence of ours, whatever the server allows. */
const LONGEST_INTERVAL_MS = 1_000;
/** How long a server in shutdown may request replies in vain. */
const SHUTDOWN_LIMIT_MS = 1_000;
/** Silence in timeouts of the server's before it counts as gone; decoding a long transaction may take its time. */
const SILENT_TIMEOUTS = 3;

/**
 * What happens next: `send` a status now (`askReply`: and let the server answer it), `give-up` the connection because
 * the server waits in shutdown for `walEnd` or because it is silent, or `wait` until `untilMs` unless something happens.
 */
type StatusDecision =
  | { readonly kind: 'send'; readonly throughLsn: Lsn; readonly askReply: boolean }
  | { readonly kind: 'give-up'; readonly reason: 'server-shuts-down'; readonly walEnd: Lsn }
  | { readonly kind: 'give-up'; readonly reason: 'server-silent'; readonly silentMs: number }
  | { readonly kind: 'wait'; readonly untilMs: number };

/** The text to hand to the library's acknowledge(), which adds 1, so that `throughLsn` itself goes on the wire. */
export function formatForLibrary(throughLsn: Lsn): string {
  // The library adds 1 to the low half and knows the carry; "0/-1" is how 0/0, "nothing yet", gets through it.
  return throughLsn === LSN_ZERO ? '0/-1' : formatLsn((throughLsn - 1n) as Lsn);
}

/** The state behind the decisions for one connection. All times are milliseconds of one monotonic clock. */
export class StandbyStatus {
  readonly #heartbeatMs: number;
  readonly #timeoutMs: number;
  #acknowledgedLsn: Lsn = LSN_ZERO;
  #sentLsn: Lsn = LSN_ZERO;
  #sentAtMs = Number.NEGATIVE_INFINITY;
  /** The request that has not been answered yet. */
  #askedAtMs: number | undefined;
  /** The last request, answered or not, and since when requests have followed one another closely. */
  #lastAskedAtMs = Number.NEGATIVE_INFINITY;
  #askedFor: Lsn = LSN_ZERO;
  #pressedSinceMs: number | undefined;
  #heardAtMs: number;
  #isListening = false;

  /** @param walSenderTimeoutMs the connection's `wal_sender_timeout`; 0 switches the server's and our own limit off. */
  constructor(walSenderTimeoutMs: number, nowMs: number) {
    this.#timeoutMs = walSenderTimeoutMs;
    // The server requests a reply after half its timeout of silence. A quarter keeps it from ever doing so in normal use.
    this.#heartbeatMs =
      walSenderTimeoutMs > 0 ? Math.min(LONGEST_INTERVAL_MS, walSenderTimeoutMs / 4) : LONGEST_INTERVAL_MS;
    this.#heardAtMs = nowMs;
  }

  get acknowledgedLsn(): Lsn {
    return this.#acknowledgedLsn;
  }

  /** @throws RangeError when `throughLsn` is before what was acknowledged already. */
  acknowledge(throughLsn: Lsn): void {
    if (throughLsn < this.#acknowledgedLsn) {
      throw new RangeError(
        `An acknowledgement never goes back: ${formatLsn(throughLsn)} is before ${formatLsn(this.#acknowledgedLsn)}.`,
      );
    }
    this.#acknowledgedLsn = throughLsn;
    if (throughLsn >= this.#askedFor) this.#pressedSinceMs = undefined;
  }

  /** Something came from the server. */
  heard(nowMs: number): void {
    this.#heardAtMs = nowMs;
  }

  /** Whether the socket is being read; while it is not, silence means nothing. */
  listen(isListening: boolean, nowMs: number): void {
    this.#isListening = isListening;
    this.#heardAtMs = nowMs;
  }

  /** A keepalive came; a requested reply goes into the next decision. */
  keepalive(keepalive: { walEnd: Lsn; replyRequested: boolean }, nowMs: number): void {
    if (!keepalive.replyRequested) return;
    // An ordinary request comes after half the timeout of silence, so two are never this close. A server in shutdown sends
    // one as soon as it has a reply, again and again, until walEnd is acknowledged.
    const isPressing = nowMs - this.#lastAskedAtMs < this.#heartbeatMs;
    if (!isPressing || this.#acknowledgedLsn >= keepalive.walEnd) this.#pressedSinceMs = undefined;
    this.#pressedSinceMs ??= nowMs;
    this.#lastAskedAtMs = nowMs;
    this.#askedAtMs ??= nowMs;
    this.#askedFor = keepalive.walEnd;
  }

  /** A status with `throughLsn` was written to the socket. */
  sent(throughLsn: Lsn, nowMs: number): void {
    this.#sentLsn = throughLsn;
    this.#sentAtMs = nowMs;
    this.#askedAtMs = undefined;
  }

  decide(nowMs: number): StatusDecision {
    const pressedMs = this.#pressedSinceMs === undefined ? 0 : this.#lastAskedAtMs - this.#pressedSinceMs;
    if (pressedMs >= SHUTDOWN_LIMIT_MS) return { kind: 'give-up', reason: 'server-shuts-down', walEnd: this.#askedFor };
    const silentMs = this.#isListening && this.#timeoutMs > 0 ? nowMs - this.#heardAtMs : 0;
    if (silentMs > SILENT_TIMEOUTS * this.#timeoutMs) return { kind: 'give-up', reason: 'server-silent', silentMs };
    const untilMs = this.#dueAtMs();
    if (nowMs < untilMs) return { kind: 'wait', untilMs };
    return { kind: 'send', throughLsn: this.#acknowledgedLsn, askReply: silentMs > this.#timeoutMs / 2 };
  }

  #dueAtMs(): number {
    const earliestMs = this.#sentAtMs + SHORTEST_INTERVAL_MS;
    if (this.#acknowledgedLsn > this.#sentLsn) return earliestMs;
    const heartbeatAtMs = this.#sentAtMs + this.#heartbeatMs;
    if (this.#askedAtMs === undefined) return heartbeatAtMs;
    // The requested LSN is often acknowledged within milliseconds: a reply before that costs a round of 100 ms.
    const answerAtMs = this.#acknowledgedLsn >= this.#askedFor ? 0 : this.#askedAtMs + SHORTEST_INTERVAL_MS;
    return Math.min(heartbeatAtMs, Math.max(earliestMs, answerAtMs));
  }
}

/** Writes statuses through the library; after stop(), only by flush(). */
export class StatusWriter {
  readonly #service: LogicalReplicationService;
  readonly #onGiveUp: (error: Error) => void;
  readonly #status: StandbyStatus;
  #isRunning = false;
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;

  constructor(service: LogicalReplicationService, walSenderTimeoutMs: number, onGiveUp: (error: Error) => void) {
    this.#service = service;
    this.#onGiveUp = onGiveUp;
    this.#status = new StandbyStatus(walSenderTimeoutMs, performance.now());
  }

  get acknowledgedLsn(): Lsn {
    return this.#status.acknowledgedLsn;
  }

  start(): void {
    this.#isRunning = true;
    this.#act();
  }

  stop(): void {
    this.#isRunning = false;
    clearTimeout(this.#timer);
  }

  /** @throws RangeError when `throughLsn` goes back. */
  acknowledge(throughLsn: Lsn): void {
    this.#status.acknowledge(throughLsn);
    this.#act();
  }

  /** Takes note of a keepalive; respond() answers it, once its handler had the chance to acknowledge. */
  keepalive(keepalive: { walEnd: Lsn; replyRequested: boolean }): void {
    this.#status.keepalive(keepalive, performance.now());
  }

  respond(): void {
    this.#act();
  }

  /** Something was read from the socket. */
  heard(): void {
    this.#status.heard(performance.now());
  }

  /** Whether the socket is read from now on; while it is not, the server's silence means nothing. */
  listen(isListening: boolean): void {
    this.#status.listen(isListening, performance.now());
  }

  /** Writes the last acknowledgement now. */
  flush(): void {
    this.#write(this.#status.acknowledgedLsn, false);
  }

  #act(): void {
    if (!this.#isRunning) return;
    const nowMs = performance.now();
    let decision = this.#status.decide(nowMs);
    if (decision.kind === 'send') {
      this.#write(decision.throughLsn, decision.askReply);
      decision = this.#status.decide(nowMs);
    }
    if (decision.kind === 'wait') this.#wakeAt(decision.untilMs, nowMs);
    if (decision.kind !== 'give-up') return;
    this.#onGiveUp(
      decision.reason === 'server-shuts-down'
        ? new ServerShuttingDownError(decision.walEnd)
        : new StreamLostError(
            `Postgres has been silent for ${Math.round(decision.silentMs)} ms although a reply was requested.`,
          ),
    );
  }

  #wakeAt(atMs: number, nowMs: number): void {
    if (atMs === this.#timerAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(() => {
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      this.#act();
    }, atMs - nowMs);
  }

  #write(throughLsn: Lsn, askReply: boolean): void {
    this.#status.sent(throughLsn, performance.now());
    // Writes before it returns; its promise resolves to whether the library had been stopped.
    void this.#service.acknowledge(formatForLibrary(throughLsn), askReply);
  }
}
