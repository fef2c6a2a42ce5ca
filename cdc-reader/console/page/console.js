// The console's page: panels drawn from server-sent events. A snapshot replaces all, a delta the panels that it names; when the
// connection is lost everything stays, dimmed, with its age. It only reads: what repairs something is a command to copy.
// @ts-check
import { lineChart } from './charts.js';

/** @type {Record<string, any>} */
const panels = {};
/** @type {{at: string, text: string}[]} */
const events = [];
let lastHeardMs = 0;

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * @param {string} tag
 * @param {{className?: string, text?: string}} [options]
 * @param {(Node | string)[]} [children]
 */
function element(tag, { className, text } = {}, children = []) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/** Puts `children` in place of what is there; what was unfolded stays unfolded. @param {string} id @param {(Node | string)[]} children */
function show(id, children) {
  const place = byId(id);
  const open = new Set([...place.querySelectorAll('details[open]')].map((one) => one.id));
  place.replaceChildren(...children);
  for (const one of place.querySelectorAll('details')) one.open = open.has(one.id);
}

/** @param {string} caption @param {string[]} columns @param {(string | Node | null)[][]} rows */
function table(caption, columns, rows, numbers = /** @type {number[]} */ ([])) {
  const made = document.createElement('table');
  made.createCaption().textContent = caption;
  const head = made.createTHead().insertRow();
  for (const [index, column] of columns.entries()) {
    const cell = element('th', { text: column, className: numbers.includes(index) ? 'number' : '' });
    cell.setAttribute('scope', 'col');
    head.append(cell);
  }
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const [index, value] of row.entries()) {
      const cell = line.insertCell();
      if (numbers.includes(index)) cell.className = 'number';
      cell.append(value ?? '–');
    }
  }
  return made;
}

/** @param {number | null | undefined} bytes */
function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return null;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log(bytes) / Math.log(1024)));
  const value = bytes / 1024 ** power;
  return `${value >= 100 || power === 0 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

/** @param {number | null | undefined} seconds */
function formatSeconds(seconds) {
  if (seconds === null || seconds === undefined) return null;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

/** @param {number | null | undefined} rate */
const formatRate = (rate) =>
  rate === null || rate === undefined ? '–' : `${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s`;

/** @param {string | null | undefined} time */
const formatTime = (time) => (time ? new Date(time).toLocaleString() : null);

/** @param {string | null} command */
function commandOf(command) {
  if (!command) return null;
  const button = element('button', { text: 'Copy' });
  button.setAttribute('type', 'button');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = 'Copied';
    } catch {
      const range = document.createRange();
      range.selectNodeContents(/** @type {Node} */ (button.previousSibling));
      getSelection()?.removeAllRanges();
      getSelection()?.addRange(range);
      button.textContent = 'Selected: press Ctrl-C';
    }
  });
  return element('div', { className: 'command' }, [element('code', { text: command }), button]);
}

const draw = {
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
  latency() {
    const { latency, rates, history = [] } = panels;
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
  safety({ slots, replayableFrom }) {
    const rows = slots.map((/** @type {any} */ slot) => [
      slot.slot,
      element('span', { className: /lost|missing|unreserved/.test(slot.walStatus) ? 'bad' : '', text: slot.walStatus }),
      formatBytes(slot.retainedBytes),
      slot.safeBytes === null ? 'no limit' : formatBytes(slot.safeBytes),
      slot.secondsLeft === null ? null : formatSeconds(slot.secondsLeft),
      slot.catalogXminAge === null ? null : String(slot.catalogXminAge),
    ]);
    const sources = Object.entries(replayableFrom);
    show('safety', [
      slots.length === 0
        ? element('p', { className: 'muted', text: 'The reader has not read its slots yet.' })
        : table(
            'If a slot went now, what it holds behind the acknowledgement would have to be replayed from the tables',
            ['slot', 'state', 'WAL held', 'until the limit', 'time left', 'catalog_xmin age'],
            rows,
            [2, 3, 4, 5],
          ),
      element('p', {
        text:
          sources.length === 0
            ? 'Nothing can be replayed from WAL or Kafka; the tables have every order.'
            : `Replays reach back to ${sources.map(([source, lsn]) => `${lsn} from ${source}`).join(', ')}.`,
      }),
    ]);
  },
  carts() {
    const { carts, cartsProblem } = panels;
    drawProof(carts, cartsProblem);
    drawAttention(carts, cartsProblem);
  },
  /** @param {any[]} services */
  services(services) {
    const rows = services.map((one) => [
      one.kind,
      one.url,
      element('span', { className: one.isWell ? 'well' : 'bad', text: one.state ?? `away: ${one.problem}` }),
      one.partitions === null ? null : String(one.partitions),
      one.restarts === null ? null : String(one.restarts),
      one.version,
    ]);
    show('services', [
      table(
        'As each answers on its operations address',
        ['service', 'address', 'state', 'partitions', 'restarts', 'version'],
        rows,
        [3, 4],
      ),
    ]);
  },
};

/** @param {any} carts @param {string | null} problem */
function drawProof(carts, problem) {
  if (!carts) return show('proof', [noCarts(problem)]);
  const { lastAudit: audit, lastReplay: replay } = carts;
  show('proof', [
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

/** @param {any} carts @param {string | null} problem */
function drawAttention(carts, problem) {
  if (!carts) return show('attention', [noCarts(problem)]);
  const { haltedPartitions, parked, replayRuns } = carts;
  const list = [
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
          `${parked.count} parked events, the newest first`,
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

/** What has changed since the last message, in words. @param {Record<string, any>} before @param {Record<string, any>} after */
function noteEvents(before, after) {
  const note = (/** @type {string} */ text) => events.unshift({ at: after.at ?? new Date().toISOString(), text });
  if (before.verdict?.title !== after.verdict?.title) note(after.verdict.title);
  const known = new Map((before.services ?? []).map((/** @type {any} */ one) => [one.url, one]));
  for (const one of before.services ? (after.services ?? []) : []) {
    const was = known.get(one.url);
    if (was && was.state !== one.state)
      note(`${one.kind} (${one.url}): ${was.state ?? 'away'} → ${one.state ?? 'away'}`);
    if (was && was.restarts !== null && one.restarts > was.restarts)
      note(`${one.kind} (${one.url}) began again after a failure`);
    if (was && was.partitions !== null && one.partitions !== null && was.partitions !== one.partitions)
      note(`${one.kind} (${one.url}): ${was.partitions} → ${one.partitions} partitions`);
  }
  const slots = new Map((before.safety?.slots ?? []).map((/** @type {any} */ slot) => [slot.slot, slot.walStatus]));
  for (const { slot, walStatus } of after.safety?.slots ?? []) {
    if (slots.has(slot) && slots.get(slot) !== walStatus) note(`slot ${slot}: ${slots.get(slot)} → ${walStatus}`);
  }
  events.splice(100);
  show(
    'events',
    events.length === 0
      ? [element('li', { className: 'muted', text: 'Nothing has changed since this page was opened.' })]
      : events.map(({ at, text }) => {
          const time = element('time', { text: new Date(at).toLocaleTimeString() });
          time.setAttribute('datetime', at);
          return element('li', {}, [time, text]);
        }),
  );
}

/** @param {Record<string, any>} changes */
function take(changes) {
  const before = { ...panels };
  Object.assign(panels, changes);
  lastHeardMs = Date.now();
  byId('main').setAttribute('aria-busy', 'false');
  document.body.dataset.connection = 'open';
  const names = Object.keys(changes);
  if ('verdict' in changes) draw.verdict(panels.verdict);
  if ('ladder' in changes) draw.ladder(panels.ladder);
  if ('safety' in changes) draw.safety(panels.safety);
  if ('services' in changes) draw.services(panels.services);
  if (names.some((name) => ['latency', 'rates', 'history'].includes(name))) draw.latency();
  if (names.some((name) => ['carts', 'cartsProblem'].includes(name))) draw.carts();
  noteEvents(before, panels);
  showAge();
}

function showAge() {
  const place = byId('connection');
  const age = (Date.now() - lastHeardMs) / 1000;
  if (lastHeardMs === 0) return;
  const isLost = document.body.dataset.connection === 'lost' || age > 20;
  const text = isLost
    ? `connection lost; figures of ${formatSeconds(age)} ago, trying again …`
    : `live, as of ${new Date(panels.at ?? lastHeardMs).toLocaleTimeString()}`;
  if (place.textContent !== text) place.textContent = text;
}

// By keyboard a region that scrolls must be reached.
for (const region of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('.scrolls')))
  region.tabIndex = 0;

const source = new EventSource('/console/events');
source.addEventListener('snapshot', ({ data }) => {
  const all = JSON.parse(data);
  if (Object.keys(all).length > 0) take(all);
});
source.addEventListener('delta', ({ data }) => take(JSON.parse(data)));
source.addEventListener('error', () => {
  document.body.dataset.connection = 'lost';
  if (lastHeardMs === 0) byId('connection').textContent = 'no connection to the reader; trying again …';
  showAge();
});
setInterval(showAge, 1000);

byId('find').addEventListener('submit', async (event) => {
  event.preventDefault();
  const what = /** @type {HTMLInputElement} */ (byId('find-what')).value.trim();
  const key = /^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(what)
    ? 'order'
    : /^[0-9a-f]{1,8}\/[0-9a-f]{1,8}$/i.test(what)
      ? 'lsn'
      : 'user';
  show('found', [
    element('p', { className: 'muted', text: `Looking for the ${key === 'lsn' ? 'position' : key} ${what} …` }),
  ]);
  try {
    const response = await fetch(`/operations/orders?${new URLSearchParams({ [key]: what })}`);
    const body = await response.json();
    if (!response.ok) throw new Error(body.detail ?? `the answer was ${response.status}`);
    show('found', describeFound(body));
  } catch (error) {
    show('found', [element('p', { className: 'bad', text: `Not found out: ${/** @type {Error} */ (error).message}` })]);
  }
});

/** Whatever the answer holds, as nested lists. @param {any} value */
function describeFound(value) {
  if (Array.isArray(value))
    return value.length === 0 ? [element('p', { text: 'There is no such order.' })] : value.flatMap(describeFound);
  if (value === null || typeof value !== 'object') return [String(value)];
  const entries = Object.entries(value).filter(([, one]) => one !== null);
  return [
    element(
      'table',
      {},
      entries.map(([name, one]) => {
        const head = element('th', { text: name.replace(/([A-Z])/g, ' $1').toLowerCase() });
        head.setAttribute('scope', 'row');
        return element('tr', {}, [head, element('td', { className: 'wide' }, describeFound(one))]);
      }),
    ),
  ];
}
