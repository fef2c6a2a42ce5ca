// The carts side in one document: what the sink serves at GET /operations/carts, for consoles and people. Its
// offsets and counts are text, since they may exceed a number; times are ISO 8601 in UTC. No user, no order, no payload is in it.
import { z } from 'zod';

const count = z.string().regex(/^\d+$/);
const time = z.iso.datetime();

const tally = { published: count, applied: count, already: count, changed: count, parked: count };
const place = { topic: z.string(), partition: z.int() };

/** `verdict`: whether the two databases agreed; `orders`: how many were compared. */
export const auditVerdict = z.object({
  at: time,
  orders: count,
  differences: count,
  verdict: z.enum(['agree', 'differ']),
});

/** The proof of a replay: counts of both sides, and their checksums as 16 hexadecimal digits. */
export const replayVerdict = z.object({
  at: time,
  run: z.string(),
  ...tally,
  sourceChecksum: z.string(),
  appliedChecksum: z.string(),
});

export const cartsStatus = z.object({
  /** `position`: of the furthest order applied, as timeline:commitLsn:ordinal; null before the first, and for replays. */
  partitions: z.array(
    z.object({ ...place, nextOffset: count, ownerEpoch: count, position: z.string().nullable(), updatedAt: time }),
  ),
  /** `command` repairs what a person has to repair. */
  haltedPartitions: z.array(
    z.object({ ...place, code: z.string(), offset: count, since: time, message: z.string(), command: z.string() }),
  ),
  parked: z.object({
    count: z.int(),
    newest: z.array(
      z.object({ ...place, id: count, offset: count, reason: z.string(), parkedAt: time, command: z.string() }),
    ),
  }),
  /** The newest 20. `published`: until a run's end has arrived, what has arrived. `command` continues an unfinished run. */
  replayRuns: z.array(
    z.object({ run: z.string(), state: z.string(), startedAt: time, ...tally, command: z.string().nullable() }),
  ),
  lastAudit: auditVerdict.nullable(),
  lastReplay: replayVerdict.nullable(),
});

export type AuditVerdict = z.infer<typeof auditVerdict>;
export type ReplayVerdict = z.infer<typeof replayVerdict>;
export type CartsStatus = z.infer<typeof cartsStatus>;
