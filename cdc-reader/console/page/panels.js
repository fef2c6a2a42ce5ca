// The panels of the console: what each shows of what the reader has sent. Nothing is kept here.
// @ts-check
import { drawAttention, drawProof } from './carts-panels.js';
import { lineChart } from './charts.js';
import {
  byId,
  commandOf,
  element,
  formatBytes,
  formatRate,
  formatSeconds,
  formatTime,
  show,
  table,
} from './elements.js';

/** Each panel, from what the reader has sent of it. */
export const draw = {
  /** @param {any} verdict */
  verdict(verdict) {
    byId('verdict').dataset.kind = verdict.kind;
    const title = byId('verdict-title');
    if (title.textContent !== verdict.title) title.textContent = verdict.title;
    document.title = `${verdict.title} · Tillstream`;
    show(
      'verdict-body',
      [verdict, ...verdict.others].flatMap((finding, index) => {
        const since = finding.since ? `since ${formatTime(finding.since)}` : '';
        const command = commandOf(finding.command);
        return [
          ...(index === 0 ? [] : [element('p', {}, [element('strong', { text: finding.title })])]),
          ...(finding.detail ? [element('p', { text: finding.detail })] : []),
          ...(since ? [element('p', { className: 'since', text: since })] : []),
          ...(command ? [command] : []),
        ];
      }),
    );
  },
  /** @param {any[]} ladder */
  ladder(ladder) {
    const rows = ladder.map(({ stage, lsn, gapBytes, gapRecords, gapSeconds }) => [
      stage,
      element('span', { className: 'lsn', text: lsn ?? 'not known' }),
      formatBytes(gapBytes),
      gapRecords === null ? null : String(gapRecords),
      formatSeconds(gapSeconds),
    ]);
    const made = table(
      'Each position, and how far it is behind the one before',
      ['position', 'LSN', 'bytes', 'records', 'age'],
      rows,
      [2, 3, 4],
    );
    for (const [index, { isSlowest }] of ladder.entries()) {
      if (isSlowest) /** @type {HTMLTableRowElement} */ (made.tBodies[0]?.rows[index]).className = 'slowest';
    }
    show('ladder', [made]);
  },
  /** @param {any} panels */
  latency({ latency, rates, history = [] }) {
    const quantiles = latency?.ofLastMinute;
    const figures = [
      ['p50', formatSeconds(quantiles?.p50)],
      ['p99', formatSeconds(quantiles?.p99)],
      ['at most', formatSeconds(quantiles?.max)],
      ['read', formatRate(rates?.read)],
      ['published', formatRate(rates?.published)],
      ['applied', formatRate(rates?.applied)],
    ];
    const times = history.map((/** @type {any} */ point) => point.at);
    const line = (/** @type {(point: any) => number | null} */ read) => history.map(read);
    show('latency', [
      element('p', {
        className: 'muted',
        text: 'Of the orders of the last minute; orders a second of the last seconds.',
      }),
      element(
        'dl',
        { className: 'figures' },
        figures.map(([label, value]) =>
          element('div', {}, [element('dt', { text: label ?? '' }), element('dd', { text: value ?? '–' })]),
        ),
      ),
      lineChart(
        [
          { label: 'read', className: 'read', values: line((point) => point.rates.read) },
          { label: 'published (dashed)', className: 'published', values: line((point) => point.rates.published) },
          { label: 'applied (dotted)', className: 'applied', values: line((point) => point.rates.applied) },
        ],
        times,
        { title: 'Orders a second, 15 minutes', format: (value) => formatRate(value) },
      ),
      lineChart(
        [
          { label: 'p50', className: 'read', values: line((point) => point.p50) },
          { label: 'p99 (dashed)', className: 'published', values: line((point) => point.p99) },
        ],
        times,
        { title: 'COMMIT to COMMIT, 15 minutes', format: (value) => formatSeconds(value) ?? '' },
      ),
    ]);
  },
  /** @param {any} safety */
  safety({ slots, slotsAt, replayableFrom, heldPartitions, openTransactions }) {
    const rows = slots.map((/** @type {any} */ slot) => [
      slot.slot,
      element('span', { className: /lost|missing|unreserved/.test(slot.walStatus) ? 'bad' : '', text: slot.walStatus }),
      formatBytes(slot.retainedBytes),
      slot.safeBytes === null ? 'no limit' : formatBytes(slot.safeBytes),
      slot.secondsLeft === null ? null : formatSeconds(slot.secondsLeft),
      slot.catalogXminAge === null ? null : String(slot.catalogXminAge),
    ]);
    const from = (/** @type {string} */ lsn) => (lsn === '0/0' ? 'the beginning' : lsn);
    const sources = Object.entries(replayableFrom ?? {});
    show('safety', [
      slots.length === 0
        ? element('p', { className: 'muted', text: 'The slots: not read yet.' })
        : table(
            `If a slot went now, what it holds behind the acknowledgement would have to be replayed from the tables. As of ${formatTime(slotsAt)}`,
            ['slot', 'state', 'WAL held', 'until the limit', 'time left', 'catalog_xmin age'],
            rows,
            [2, 3, 4, 5],
          ),
      element('p', {
        text:
          replayableFrom === null
            ? 'How far back replays reach is not known while no reader streams; npm run replay tells.'
            : sources.length === 0
              ? 'Nothing can be replayed from WAL or Kafka; the tables have every order.'
              : `Replays reach back to ${sources.map(([source, lsn]) => `${from(lsn)} (${source})`).join(', ')}.`,
      }),
      ...describeOpenTransactions(heldPartitions, openTransactions),
    ]);
  },
  /** @param {any} panels */
  carts({ carts, cartsAt, cartsProblem }) {
    drawProof(carts, cartsAt, cartsProblem);
    drawAttention(carts, cartsAt, cartsProblem);
  },
  /** @param {any} panels */
  services({ services, events = [] }) {
    const rows = services.map((/** @type {any} */ one) => [
      one.kind,
      one.url,
      element('span', { className: one.isWell ? 'well' : 'bad', text: one.state ?? `away: ${one.problem}` }),
      ownedOf(one),
      formatTime(one.startedAt),
      one.restarts === null ? null : String(one.restarts),
      one.version,
    ]);
    const about = events.filter((/** @type {any} */ event) => event.isAboutRunning).slice(0, MOST_ABOUT_RUNNING);
    show('services', [
      table(
        'As each answers on its operations address; restarts are those within the process',
        ['service', 'address', 'state', 'partitions', 'runs since', 'restarts', 'version'],
        rows,
        [5],
      ),
      element('h3', { text: 'Starts, restarts and takeovers of the last day' }),
      eventList(about, 'None is known; a service that restarts forgets those of before.'),
    ]);
  },
  /** @param {any[]} events */
  events(events) {
    show('events', [eventList(events, 'Nothing has happened in the last day, as far as the services remember.')]);
  },
};

const MOST_ABOUT_RUNNING = 10;

/** @param {number | null} held @param {any[]} open */
function describeOpenTransactions(held, open) {
  if (held === null)
    return [
      element('p', { className: 'muted', text: 'Open Kafka transactions: not read yet, or Kafka does not answer.' }),
    ];
  if (held === 0) return [element('p', { text: 'No open Kafka transaction holds up the consumers.' })];
  const rows = open.map((one) => [
    String(one.partition),
    one.isThisReader ? `${one.producerId}, this reader` : `${one.producerId}, not this reader`,
    one.producerEpoch,
    one.startOffset === null ? null : String(one.startOffset),
    formatSeconds(one.seconds),
  ]);
  return [
    table(
      `${held} partitions of the live topic end for consumers where an open Kafka transaction begins; the oldest first`,
      ['partition', 'producer', 'epoch', 'begins at offset', 'open for'],
      rows,
      [0, 2, 3, 4],
    ),
  ];
}

/** @param {any} service */
function ownedOf({ owned, partitions }) {
  if (owned.length === 0) return partitions === null ? null : String(partitions);
  return element(
    'span',
    {},
    owned.map((/** @type {any} */ one) =>
      element('div', {
        text: `${one.topic} ${one.partitions}${one.ownerEpochs === null ? '' : ` · epoch ${one.ownerEpochs}`}`,
      }),
    ),
  );
}

/** @param {any[]} events @param {string} none */
function eventList(events, none) {
  if (events.length === 0) return element('p', { className: 'muted', text: none });
  return element(
    'ol',
    { className: 'events' },
    events.map(({ at, of, url, text, why }) => {
      const time = element('time', { text: formatTime(at) ?? '' });
      time.setAttribute('datetime', at);
      const who = of === 'pipeline' ? '' : `${of}${url === 'this reader' ? '' : ` ${url}`}: `;
      const reason = why === null || text.includes(why) ? '' : ` (${why})`;
      return element('li', {}, [time, `${who}${text}${reason}`]);
    }),
  );
}
