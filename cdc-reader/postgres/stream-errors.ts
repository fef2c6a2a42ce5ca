// Why a replication stream could not start, or ended. Plain errors with a literal code: whether one means a retry, a hot
// standby or a halt is decided by supervise/ and startup/, not here. A slot that Postgres invalidated: slots/slot-lost.ts.
import { formatLsn, type Lsn } from '#schemas/lsn.ts';

/** Another connection streams from the slot: stand by until it ends. */
export class SlotBusyError extends Error {
  readonly code = 'SLOT_BUSY';
  /** The server process that holds it, where Postgres reports it. */
  readonly activePid: number | undefined;

  /** `details`: of the walsender's connection, as far as this role may read it. */
  constructor(slotName: string, activePid: number | undefined, details = '', options?: ErrorOptions) {
    const holder = activePid === undefined ? 'another walsender' : `walsender pid ${activePid}`;
    super(`Slot ${slotName} is in use by ${holder}${details === '' ? '' : ` (${details})`}`, options);
    this.name = 'SlotBusyError';
    this.activePid = activePid;
  }
}

/** There is no such slot on this server. */
export class SlotMissingError extends Error {
  readonly code = 'SLOT_MISSING';

  constructor(slotName: string, options?: ErrorOptions) {
    super(
      `The replication slot ${slotName} does not exist on this server. If it was dropped, orders committed since then may be ` +
        'unpublished: run `npm run adopt -- reader`, which prints the replay command that closes the gap.',
      options,
    );
    this.name = 'SlotMissingError';
  }
}

/** The slot to copy for a replay is unusable; the live slot is not affected. */
export class SlotCopyError extends Error {
  readonly code: 'SLOT_COPY_MISSING' | 'SLOT_COPY_LOST';

  constructor(reason: 'missing' | 'lost', sourceName: string, options?: ErrorOptions) {
    const why = reason === 'missing' ? 'it does not exist on this server' : 'Postgres has removed WAL that it needed';
    super(
      `The replication slot ${sourceName} can't be copied: ${why}. A streaming reader recreates it within seconds ` +
        'unless REPLAY_WINDOW_BYTES is 0; what was committed before that can be replayed from Kafka or the tables.',
      options,
    );
    this.code = reason === 'missing' ? 'SLOT_COPY_MISSING' : 'SLOT_COPY_LOST';
    this.name = 'SlotCopyError';
  }
}

/** Postgres is shutting down: it ended the stream, or waits for an acknowledgement that can't be sent now. */
export class ServerShuttingDownError extends Error {
  readonly code = 'SERVER_SHUTTING_DOWN';

  constructor(walEnd: Lsn | undefined) {
    super(
      walEnd === undefined
        ? 'Postgres ended the replication stream: it is shutting down.'
        : `Postgres is shutting down and waits for the acknowledgement of ${formatLsn(walEnd)}, which can't be sent ` +
            'yet; the connection was closed so that the shutdown can finish.',
    );
    this.name = 'ServerShuttingDownError';
  }
}

/** The connection broke, or nothing came from Postgres although a reply was requested. */
export class StreamLostError extends Error {
  readonly code = 'STREAM_LOST';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StreamLostError';
  }
}
