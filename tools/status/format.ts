// What `npm run status` prints, and its exit code. Pure.
import type { Overview } from '../../cdc-reader/status/overview.ts';
import type { Finding } from '../../cdc-reader/status/verdict.ts';

const EXIT_PERSON_NEEDED = 1;
const EXIT_CANNOT_TELL = 3;

export function exitCodeOf({ verdict }: Pick<Overview, 'verdict'>): number {
  switch (verdict.kind) {
    case 'in-step':
    case 'idle':
    case 'catching-up':
      return 0;
    case 'cannot-tell':
      return EXIT_CANNOT_TELL;
    default:
      return EXIT_PERSON_NEEDED;
  }
}

export function formatOverview({
  verdict,
  ladder,
  latency,
  rates,
  safety,
  services,
  carts,
  cartsProblem,
}: Omit<Overview, 'events'>): string {
  const quantiles = latency.ofLastMinute;
  const lines = [
    ...[verdict, ...verdict.others].flatMap(formatFinding),
    '',
    ...ladder.map(({ stage, lsn, gapBytes, gapRecords, gapSeconds, isSlowest }) =>
      [
        stage.padEnd(20),
        (lsn ?? 'not known').padEnd(18),
        gapBytes === null ? '' : `${gapBytes} bytes behind`,
        gapRecords === null ? '' : `, ${gapRecords} records`,
        gapSeconds === null ? '' : `, ${gapSeconds.toFixed(1)} s`,
        isSlowest ? '   <- most is missing here' : '',
      ].join(''),
    ),
    '',
    `orders a second      read ${formatRate(rates.read)}, published ${formatRate(rates.published)}, applied ${formatRate(rates.applied)}`,
    ...(quantiles === null
      ? []
      : [
          `COMMIT to COMMIT     p50 ${toMs(quantiles.p50)} ms, p99 ${toMs(quantiles.p99)} ms (since the first reading)`,
        ]),
    ...safety.slots.map(
      ({ slot, walStatus, retainedBytes, safeBytes }) =>
        `slot ${slot}`.padEnd(21) +
        `${walStatus}, holds ${retainedBytes ?? '?'} bytes of WAL, ${safeBytes === null ? 'no limit' : `${safeBytes} bytes until the limit`}`,
    ),
    ...safety.openTransactions.map(
      ({ partition, producerId, isThisReader, seconds }) =>
        `open transaction     in partition ${partition}, of producer ${producerId}${isThisReader ? ' (the reader)' : ''}, for ${seconds.toFixed(1)} s`,
    ),
    ...services.map(({ kind, url, state, problem }) => `${kind.padEnd(21)}${state ?? `away (${problem})`}  ${url}`),
    carts === null
      ? `carts                not known: ${cartsProblem ?? 'no sink has answered'}`
      : `carts                ${carts.parked.count} parked, ${carts.haltedPartitions.length} partitions halted, ` +
        `last audit ${carts.lastAudit === null ? 'never' : `${carts.lastAudit.at}: ${carts.lastAudit.differences} differences`}`,
  ];
  return `${lines.join('\n')}\n`;
}

function formatFinding({ title, detail, command, since }: Finding): string[] {
  return [
    `${title}${since === null ? '' : ` (since ${since})`}`,
    ...(detail === null ? [] : [`  ${detail}`]),
    ...(command === null ? [] : [`  ${command}`]),
  ];
}

const formatRate = (rate: number | null): string => (rate === null ? 'not known' : rate.toFixed(1));
const toMs = (seconds: number): string => (seconds * 1_000).toFixed(seconds < 0.01 ? 1 : 0);
