// The panels of what the carts side keeps: the proofs of audit and replay, and what needs a person.
// @ts-check
import { commandOf, element, formatTime, show, table } from './elements.js';

/** @param {any} carts @param {string | null} at @param {string | null} problem */
export function drawProof(carts, at, problem) {
  if (!carts) return show('proof', [noCarts(problem)]);
  const { lastAudit: audit, lastReplay: replay } = carts;
  show('proof', [
    ...ageOf(at, problem),
    audit
      ? element('p', {
          className: audit.verdict === 'agree' ? '' : 'bad',
          text: `Audit of ${formatTime(audit.at)}: ${audit.orders} orders compared, ${audit.differences} differences.`,
        })
      : element('p', { text: 'No audit has been kept yet.' }),
    ...(audit ? [] : [commandOf('npm run audit') ?? '']),
    replay
      ? element('p', {
          text: `Replay ${replay.run}, ${formatTime(replay.at)}: ${replay.published} published; ${replay.applied} applied, ${replay.already} already there, ${replay.changed} changed, ${replay.parked} parked. Checksums ${replay.sourceChecksum} and ${replay.appliedChecksum}${replay.sourceChecksum === replay.appliedChecksum ? ' are the same.' : ' DIFFER.'}`,
        })
      : element('p', { className: 'muted', text: 'No replay has been proven yet.' }),
  ]);
}

/** @param {string | null} problem */
const noCarts = (problem) =>
  element('p', {
    className: 'muted',
    text: `The carts' side is not here: ${problem ?? 'no sink is configured (CART_SINK_OPERATIONS_URLS)'}.`,
  });

/** Where no sink answers now: what is shown is of before. @param {string | null} at @param {string | null} problem */
const ageOf = (at, problem) =>
  at === null
    ? []
    : [element('p', { className: 'muted', text: `As of ${formatTime(at)}: ${problem ?? 'no sink answers'}.` })];

/** @param {any} carts @param {string | null} at @param {string | null} problem */
export function drawAttention(carts, at, problem) {
  if (!carts) return show('attention', [noCarts(problem)]);
  const { haltedPartitions, parked, replayRuns } = carts;
  const list = [
    ...ageOf(at, problem),
    haltedPartitions.length === 0
      ? element('p', { text: 'No partition is halted.' })
      : table(
          'Halted partitions',
          ['partition', 'code', 'since', 'what to do'],
          haltedPartitions.map((/** @type {any} */ one) => [
            `${one.topic}[${one.partition}]@${one.offset}`,
            one.code,
            formatTime(one.since),
            commandOf(one.command),
          ]),
        ),
    parked.count === 0
      ? element('p', { text: 'No event is parked.' })
      : table(
          parked.count === 1 ? 'One parked event' : `${parked.count} parked events, the newest first`,
          ['id', 'place', 'reason', 'since', 'look at it'],
          parked.newest.map((/** @type {any} */ one) => [
            one.id,
            `${one.topic}[${one.partition}]@${one.offset}`,
            one.reason,
            formatTime(one.parkedAt),
            commandOf(one.command),
          ]),
        ),
    replayRuns.length === 0
      ? element('p', { text: 'Nothing was replayed yet.' })
      : table(
          'Replay runs, the newest first',
          ['run', 'state', 'began', 'published', 'applied', 'already', 'changed', 'parked', 'go on'],
          replayRuns.map((/** @type {any} */ one) => [
            one.run,
            one.state,
            formatTime(one.startedAt),
            one.published,
            one.applied,
            one.already,
            one.changed,
            one.parked,
            commandOf(one.command),
          ]),
          [3, 4, 5, 6, 7],
        ),
  ];
  show('attention', list);
}
