// The console's page, drawn from server-sent events. A snapshot replaces all panels, a delta those that it names; when the
// connection is lost everything stays, dimmed, with its age. It only reads: what repairs something is a command to copy.
// @ts-check
import { byId, describeFound, element, formatSeconds, show } from './elements.js';
import { draw } from './panels.js';

/** @type {Record<string, any>} */
const panels = {};
let lastHeardMs = 0;

/** @param {Record<string, any>} changes */
function take(changes) {
  Object.assign(panels, changes);
  lastHeardMs = Date.now();
  byId('main').setAttribute('aria-busy', 'false');
  document.body.dataset.connection = 'open';
  const names = Object.keys(changes);
  if ('verdict' in changes) draw.verdict(panels.verdict);
  if ('ladder' in changes) draw.ladder(panels.ladder);
  if ('safety' in changes) draw.safety(panels.safety);
  if (names.some((name) => ['services', 'events'].includes(name))) draw.services(panels);
  if ('events' in changes) draw.events(panels.events);
  if (names.some((name) => ['latency', 'rates', 'history'].includes(name))) draw.latency(panels);
  if (names.some((name) => ['carts', 'cartsAt', 'cartsProblem'].includes(name))) draw.carts(panels);
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
