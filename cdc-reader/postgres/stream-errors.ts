// Why a replication stream could not start, or ended. Plain errors with a literal code: whether one means "try again",
// "stand by" or "halt" is decided by the reader's restart policy, not here.

import { formatLsn, type Lsn } from '#schemas/lsn.ts';

/** Another connection streams from the slot: stand by until it lets go. */
export class SlotBusyError extends Error {
  readonly code = 'SLOT_BUSY';
  /** The server process that holds it, where Postgres told. */
  readonly activePid: number | undefined;

  constructor(slotName: string, activePid: number | undefined, options?: ErrorOptions) {
    const holder = activePid === undefined ? 'another connection' : `server process ${activePid}`;
    super(`The replication slot ${slotName} is in use by ${holder}; it is free when that reader has stopped.`, options);
    this.name = 'SlotBusyError';
    this.activePid = activePid;
  }
}

/** There is no such slot on this server. */
export class SlotMissingError extends Error {
  readonly code = 'SLOT_MISSING';

  constructor(slotName: string, options?: ErrorOptions) {
    super(
      `The replication slot ${slotName} does not exist on this server. If it was dropped, changes since then may be ` +
        'gone: run `npm run adopt -- reader`, which prints the replay command that closes the gap.',
      options,
    );
    this.name = 'SlotMissingError';
  }
}

/** Postgres has removed log that the slot still needed. */
export class SlotLostError extends Error {
  readonly code = 'SLOT_LOST';
  /** As Postgres names it. */
  readonly reason: string;

  constructor(slotName: string, reason: string, options?: ErrorOptions) {
    super(
      `The replication slot ${slotName} was invalidated (${reason}): changes that had not been read are gone from the ` +
        'log. Raise max_slot_wal_keep_size, and run `npm run adopt -- reader`, which prints the replay command that ' +
        'closes the gap.',
      options,
    );
    this.reason = reason;
    this.name = 'SlotLostError';
  }
}

/** The slot that a temporary copy should be made of is of no use; the live slot has nothing to do with it. */
export class SlotCopyError extends Error {
  readonly code: 'SLOT_COPY_MISSING' | 'SLOT_COPY_LOST';

  constructor(reason: 'missing' | 'lost', sourceName: string, options?: ErrorOptions) {
    const why = reason === 'missing' ? 'it does not exist on this server' : 'Postgres has removed log that it needed';
    super(
      `The replication slot ${sourceName} can't be copied: ${why}. A streaming reader makes it again within seconds ` +
        'unless REPLAY_WINDOW_BYTES is 0; what came before that can be replayed from Kafka or the tables.',
      options,
    );
    this.code = reason === 'missing' ? 'SLOT_COPY_MISSING' : 'SLOT_COPY_LOST';
    this.name = 'SlotCopyError';
  }
}

/** Postgres is shutting down: it ended the stream, or waits for an acknowledgement that can't be given now. */
export class ServerShuttingDownError extends Error {
  readonly code = 'SERVER_SHUTTING_DOWN';

  constructor(walEnd: Lsn | undefined) {
    super(
      walEnd === undefined
        ? 'Postgres ended the replication stream: it is shutting down.'
        : `Postgres is shutting down and waits for the acknowledgement of ${formatLsn(walEnd)}, which can't be given ` +
            'yet; the connection was closed so that it need not wait longer.',
    );
    this.name = 'ServerShuttingDownError';
  }
}

/** The connection broke, or nothing came from Postgres although it was asked. */
export class StreamLostError extends Error {
  readonly code = 'STREAM_LOST';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StreamLostError';
  }
}
