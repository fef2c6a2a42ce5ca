// When Postgres is told how far we are, and when we stop waiting for it, moment by moment on a clock of our own.
import { describe, expect, it } from 'vitest';
import { LSN_ZERO, type Lsn, parseLsn, toLsn } from '#schemas/lsn.ts';
import { formatForLibrary, StandbyStatus } from '../../../../cdc-reader/postgres/standby-status.ts';

const TIMEOUT_MS = 10_000;
const at = (text: string): Lsn => parseLsn(text);

/** A connection in miniature: asks for a decision every millisecond and writes down what is sent. */
function createConnection(timeoutMs = TIMEOUT_MS) {
  let nowMs = 0;
  const status = new StandbyStatus(timeoutMs, nowMs);
  const sent: { atMs: number; throughLsn: Lsn; askReply: boolean }[] = [];
  let gaveUp: { atMs: number; reason: string } | undefined;
  const act = (): void => {
    const decision = status.decide(nowMs);
    if (decision.kind === 'give-up') gaveUp ??= { atMs: nowMs, reason: decision.reason };
    if (decision.kind !== 'send') return;
    sent.push({ atMs: nowMs, throughLsn: decision.throughLsn, askReply: decision.askReply });
    status.sent(decision.throughLsn, nowMs);
  };
  return {
    status,
    sent,
    get gaveUp() {
      return gaveUp;
    },
    now: () => nowMs,
    /** Goes on until `untilMs`, doing `each` after every millisecond. */
    run(untilMs: number, each: (nowMs: number) => void = () => undefined): void {
      for (; nowMs < untilMs && gaveUp === undefined; nowMs++) {
        act();
        each(nowMs);
      }
      act();
    },
    /** A server in shutdown: asks, and asks again `delayMs` after each answer, until `walEnd` has been sent. */
    shutdown(walEnd: Lsn, delayMs = 0): (nowMs: number) => void {
      let answers = sent.length - 1;
      let askAtMs = Number.NEGATIVE_INFINITY;
      return (ms) => {
        if (sent.at(-1)?.throughLsn === walEnd) return;
        if (sent.length > answers) {
          answers = sent.length;
          askAtMs = ms + delayMs;
        }
        if (ms === askAtMs) status.keepalive({ walEnd, replyRequested: true }, ms);
      };
    },
  };
}

describe('what goes to the library', () => {
  it.each([
    ['0/1', '0/0'],
    ['0/16B3748', '0/16B3747'],
    ['1/0', '0/FFFFFFFF'],
    ['FFFFFFFF/FFFFFFFF', 'FFFFFFFF/FFFFFFFE'],
  ])('is, for %s, one less: %s', (throughLsn, text) => {
    expect(formatForLibrary(at(throughLsn))).toBe(text);
  });
});

describe('a status', () => {
  it('goes out at once after connecting, and confirms nothing before the first acknowledgement', () => {
    const connection = createConnection();
    connection.run(0);
    expect(connection.sent).toEqual([{ atMs: 0, throughLsn: LSN_ZERO, askReply: false }]);
  });

  it.each([
    [10_000, 1_000],
    [2_000, 500],
    [0, 1_000], // no timeout: still a sign of life
  ])('goes out on its own, with wal_sender_timeout %i every %i ms', (timeoutMs, everyMs) => {
    const connection = createConnection(timeoutMs);
    connection.run(everyMs * 3);
    expect(connection.sent.map(({ atMs }) => atMs)).toEqual([0, everyMs, everyMs * 2, everyMs * 3]);
  });

  it('with a new acknowledgement goes out at once, and carries exactly that position', () => {
    const connection = createConnection();
    connection.run(300);
    connection.status.acknowledge(at('0/30'));
    connection.run(301);
    expect(connection.sent.at(-1)).toMatchObject({ atMs: 300, throughLsn: at('0/30') });
    expect(connection.status.acknowledgedLsn).toBe(at('0/30'));
  });

  it('goes out at most every 100 ms however often is acknowledged, and the last position is not left behind', () => {
    const connection = createConnection();
    connection.run(1_000, (ms) => connection.status.acknowledge(toLsn(BigInt(ms + 1))));
    connection.run(1_200);
    const times = connection.sent.map(({ atMs }) => atMs);
    const gaps = times.slice(1).map((ms, i) => ms - times[i]!);
    expect(Math.min(...gaps)).toBe(100);
    expect(times.length).toBe(11);
    expect(connection.sent.at(-1)!.throughLsn).toBe(1_000n);
  });

  it('is not repeated for the same position', () => {
    const connection = createConnection();
    connection.run(200);
    connection.status.acknowledge(at('0/30'));
    connection.status.acknowledge(at('0/30'));
    connection.run(900);
    expect(connection.sent.map(({ atMs }) => atMs)).toEqual([0, 200]);
  });

  it('never goes back', () => {
    const connection = createConnection();
    connection.status.acknowledge(at('0/30'));
    expect(() => connection.status.acknowledge(at('0/2F'))).toThrow(RangeError);
    expect(connection.status.acknowledgedLsn).toBe(at('0/30'));
  });
});

describe('a keepalive that asks', () => {
  it('is answered within 100 ms although nothing new can be acknowledged', () => {
    const connection = createConnection();
    connection.run(500);
    connection.status.keepalive({ walEnd: at('0/30'), replyRequested: true }, 500);
    connection.run(700);
    expect(connection.sent.map(({ atMs }) => atMs)).toEqual([0, 600]);
  });

  it('is answered as soon as what it asks for is acknowledged', () => {
    const connection = createConnection();
    connection.run(500);
    connection.status.keepalive({ walEnd: at('0/30'), replyRequested: true }, 500);
    connection.run(507);
    connection.status.acknowledge(at('0/30'));
    connection.run(508);
    expect(connection.sent.at(-1)).toMatchObject({ atMs: 507, throughLsn: at('0/30') });
  });

  it('is answered at once when that was acknowledged before', () => {
    const connection = createConnection();
    connection.status.acknowledge(at('0/30'));
    connection.run(500);
    connection.status.keepalive({ walEnd: at('0/30'), replyRequested: true }, 500);
    connection.run(501);
    expect(connection.sent.map(({ atMs }) => atMs)).toEqual([0, 500]);
  });

  it('and one that does not ask is not answered', () => {
    const connection = createConnection();
    connection.run(500);
    connection.status.keepalive({ walEnd: at('0/30'), replyRequested: false }, 500);
    connection.run(999);
    expect(connection.sent.map(({ atMs }) => atMs)).toEqual([0]);
  });
});

describe('a server in fast shutdown', () => {
  it.each([0, 1, 40, 240])('that asks again %i ms after each answer is given up after a second', (delayMs) => {
    const connection = createConnection();
    connection.run(5_000);
    const asks = connection.shutdown(at('0/30'), delayMs);
    connection.run(10_000, asks);
    expect(connection.gaveUp?.reason).toBe('server-shuts-down');
    expect(connection.gaveUp!.atMs - 5_000).toBeGreaterThanOrEqual(1_000);
    expect(connection.gaveUp!.atMs - 5_000).toBeLessThan(1_700);
  });

  it('is given up too while other acknowledgements go on, but what it waits for is not reached', () => {
    const connection = createConnection();
    connection.run(5_000);
    const asks = connection.shutdown(at('1/0'));
    connection.run(10_000, (ms) => {
      connection.status.acknowledge(toLsn(BigInt(ms)));
      asks(ms);
    });
    expect(connection.gaveUp?.reason).toBe('server-shuts-down');
  });

  it('is not given up when what it waits for is acknowledged within the second', () => {
    const connection = createConnection();
    connection.run(5_000);
    const asks = connection.shutdown(at('0/30'));
    connection.run(10_000, (ms) => {
      asks(ms);
      if (ms === 5_900) connection.status.acknowledge(at('0/30'));
    });
    expect(connection.gaveUp).toBeUndefined();
    expect(connection.sent.some(({ throughLsn }) => throughLsn === at('0/30'))).toBe(true);
  });

  it('is given up by the second it has waited, not by an old wait that was met', () => {
    const connection = createConnection();
    connection.run(5_000);
    const first = connection.shutdown(at('0/30'));
    connection.run(5_900, first);
    connection.status.acknowledge(at('0/30'));
    connection.run(6_100);
    connection.run(6_600, connection.shutdown(at('0/40')));
    expect(connection.gaveUp).toBeUndefined();
  });
});

describe('a healthy server', () => {
  it.each([2_000, 10_000, 60_000])('that asks after half its timeout %i of silence is never given up', (timeoutMs) => {
    const connection = createConnection(timeoutMs);
    // As often as the server ever can: it heard nothing from us for half the timeout, again and again.
    connection.run(timeoutMs * 10, (ms) => {
      if (ms > 0 && ms % (timeoutMs / 2) === 0) {
        connection.status.keepalive({ walEnd: at('0/30'), replyRequested: true }, ms);
      }
    });
    expect(connection.gaveUp).toBeUndefined();
  });

  it('that asked once while we were stopped is not taken for one in shutdown, however busy the stream is then', () => {
    const connection = createConnection();
    connection.run(5_000);
    connection.status.keepalive({ walEnd: at('1/0'), replyRequested: true }, 5_001);
    connection.run(30_000, (ms) => {
      connection.status.heard(ms);
      connection.status.acknowledge(toLsn(BigInt(ms)));
    });
    expect(connection.gaveUp).toBeUndefined();
  });
});

describe('a silent server', () => {
  it('is asked for an answer after half its timeout, and given up after three', () => {
    const connection = createConnection(2_000);
    connection.status.listen(true, 0);
    connection.run(20_000);
    expect(connection.sent.find(({ askReply }) => askReply)?.atMs).toBe(1_500);
    expect(connection.sent.filter(({ atMs }) => atMs <= 1_000).some(({ askReply }) => askReply)).toBe(false);
    expect(connection.gaveUp).toEqual({ reason: 'server-silent', atMs: 6_001 });
  });

  it('that answers is kept for ever', () => {
    const connection = createConnection(2_000);
    connection.status.listen(true, 0);
    connection.run(60_000, (ms) => {
      if (connection.sent.at(-1)?.askReply && connection.sent.at(-1)?.atMs === ms - 1) connection.status.heard(ms);
    });
    expect(connection.gaveUp).toBeUndefined();
  });

  it('is not silent while we do not listen, nor right after', () => {
    const connection = createConnection(2_000);
    connection.run(60_000);
    connection.status.listen(true, 60_000);
    connection.run(61_000);
    expect(connection.gaveUp).toBeUndefined();
  });

  it('without a timeout is never given up', () => {
    const connection = createConnection(0);
    connection.status.listen(true, 0);
    connection.run(100_000);
    expect(connection.gaveUp).toBeUndefined();
  });
});
