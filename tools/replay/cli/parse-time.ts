// A time as an operator types it for --from-time: ISO 8601 with a zone, to the microsecond that Postgres records of a
// commit. Pure. Strict on purpose: without a zone, or on 30 February, a guess would replay another range than was meant.

/** The text is no time of the expected form. */
class TimeMalformedError extends Error {
  readonly code = 'TIME_MALFORMED';

  constructor(text: string, reason: string) {
    super(
      `${JSON.stringify(text)} is no time: ${reason}. Expected ISO 8601 with a zone, such as 2026-11-20T10:00Z or ` +
        '2026-11-20T11:00:30.250+01:00.',
    );
    this.name = 'TimeMalformedError';
  }
}

const FORM =
  /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,6}))?)?(?:([Zz])|([+-])(\d\d)(?::?(\d\d))?)?$/;

/** Microseconds since 1970. @throws TimeMalformedError */
export function parseTime(text: string): bigint {
  const match = FORM.exec(text.trim());
  if (match === null) throw new TimeMalformedError(text, 'date, T, hours and minutes are needed');
  const [, year, month, day, hours, minutes, seconds = '0', fraction = '', utc, sign, offsetHours, offsetMinutes] =
    match;
  if (utc === undefined && sign === undefined) {
    throw new TimeMalformedError(text, 'it has no zone (Z for UTC, or an offset such as +01:00)');
  }
  const fields = [+year!, +month! - 1, +day!, +hours!, +minutes!, +seconds] as const;
  const localMs = Date.UTC(...fields);
  const local = new Date(localMs);
  const read = [
    local.getUTCFullYear(),
    local.getUTCMonth(),
    local.getUTCDate(),
    local.getUTCHours(),
    local.getUTCMinutes(),
    local.getUTCSeconds(),
  ];
  // Date.UTC normalizes what does not exist, 30 February or 25:00.
  if (read.some((value, index) => value !== fields[index])) throw new TimeMalformedError(text, 'there is no such time');
  const [offsetH, offsetM] = [Number(offsetHours ?? 0), Number(offsetMinutes ?? 0)];
  if (offsetH > 15 || offsetM > 59) throw new TimeMalformedError(text, 'there is no such offset');
  const offsetMs = (sign === '-' ? -1 : 1) * (offsetH * 60 + offsetM) * 60_000;
  return BigInt(localMs - offsetMs) * 1000n + BigInt(fraction.padEnd(6, '0'));
}

/** As {@link parseTime} reads it: UTC, with microseconds if there are any. */
export function formatTime(micros: bigint): string {
  const ofSecond = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const seconds = new Date(Number((micros - ofSecond) / 1000n)).toISOString().slice(0, 19);
  return ofSecond === 0n ? `${seconds}Z` : `${seconds}.${String(ofSecond).padStart(6, '0')}Z`;
}
