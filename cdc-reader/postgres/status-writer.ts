// Carries out what standby-status.ts decides: keeps the one timer, writes statuses through the library, and says when the
// connection is to be given up. Statuses go on whether or not the socket is read. After stop() nothing is written but
// what flush() is asked for.

import type { LogicalReplicationService } from 'pg-logical-replication';
import type { Lsn } from '#schemas/lsn.ts';
import { formatForLibrary, StandbyStatus } from './standby-status.ts';
import { ServerShuttingDownError, StreamLostError } from './stream-errors.ts';

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
            `Postgres has been silent for ${Math.round(decision.silentMs)} ms though asked to answer.`,
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
    // Writes before it returns; its promise tells only that the library had not been stopped.
    void this.#service.acknowledge(formatForLibrary(throughLsn), askReply);
  }
}
