/**
 * What the carts database knows of parked events, and of the last audit and replay, as metrics.
 *
 * Guarantees: read at the scrape, by the one bounded read that serves the operations port too; absent while the database is away.
 * Every sink reports the same: take the maximum. Leaves to alerts: which age of an audit is too old.
 */
import type { Metrics } from '#service/metrics.ts';
import type { createCartsStatus } from './carts-status.ts';

type Status = Awaited<ReturnType<ReturnType<typeof createCartsStatus>>>;

export function reportStatus(metrics: Metrics, readStatus: ReturnType<typeof createCartsStatus>): void {
  const register = (name: string, help: string, read: (status: Status) => number | null): void =>
    metrics.state(`tillstream_${name}`, help, [], async () => {
      const value = read(await readStatus());
      return value === null ? [] : [[{}, value]];
    });
  const secondsOf = (verdict: { readonly at: string } | null) => verdict && Date.parse(verdict.at) / 1_000;

  register('parked_events', 'Parked events that nobody has decided about', ({ parked }) => parked.count);
  register('last_audit_at_seconds', 'When the last audit compared the databases, since 1970', ({ lastAudit }) =>
    secondsOf(lastAudit),
  );
  register('last_audit_orders', 'Orders that it compared', ({ lastAudit }) => lastAudit && Number(lastAudit.orders));
  register(
    'last_audit_differences',
    'Orders about which the databases differed then',
    ({ lastAudit }) => lastAudit && Number(lastAudit.differences),
  );
  register('last_replay_at_seconds', 'When the last replay ended, since 1970', ({ lastReplay }) =>
    secondsOf(lastReplay),
  );
  register(
    'last_replay_agrees',
    '1 if both sides of the last replay agreed, else 0',
    ({ lastReplay }) => lastReplay && Number(agrees(lastReplay)),
  );
}

/** As the replay tool decides, over all partitions. */
function agrees(replay: NonNullable<Status['lastReplay']>): boolean {
  const { published, applied, already, changed, parked, sourceChecksum, appliedChecksum } = replay;
  const arrived = BigInt(applied) + BigInt(already) + BigInt(changed);
  return BigInt(published) === arrived && parked === '0' && sourceChecksum === appliedChecksum;
}
