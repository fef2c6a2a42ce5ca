// The elements that panels are made of: tables, figures in words, commands to copy. What is in them is panels.js's.
// @ts-check

/** @param {string} id */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * @param {string} tag
 * @param {{className?: string, text?: string}} [options]
 * @param {(Node | string)[]} [children]
 */
export function element(tag, { className, text } = {}, children = []) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/** Puts `children` in place of what is there; what was unfolded stays unfolded. @param {string} id @param {(Node | string)[]} children */
export function show(id, children) {
  const place = byId(id);
  const open = new Set([...place.querySelectorAll('details[open]')].map((one) => one.id));
  place.replaceChildren(...children);
  for (const one of place.querySelectorAll('details')) one.open = open.has(one.id);
}

/** @param {string} caption @param {string[]} columns @param {(string | Node | null)[][]} rows */
export function table(caption, columns, rows, numbers = /** @type {number[]} */ ([])) {
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
export function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return null;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log(bytes) / Math.log(1024)));
  const value = bytes / 1024 ** power;
  return `${value >= 100 || power === 0 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

/** @param {number | null | undefined} seconds */
export function formatSeconds(seconds) {
  if (seconds === null || seconds === undefined) return null;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

/** @param {number | null | undefined} rate */
export const formatRate = (rate) =>
  rate === null || rate === undefined ? '–' : `${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s`;

/** @param {string | null | undefined} time */
export const formatTime = (time) => (time ? new Date(time).toLocaleString() : null);

/** @param {string | null} command */
export function commandOf(command) {
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

/** Whatever the answer holds, as nested lists. @param {any} value @param {string} none for an empty list */
export function describeFound(value, none = 'There is no such order.') {
  if (Array.isArray(value))
    return value.length === 0 ? [element('p', { text: none })] : value.flatMap((one) => describeFound(one));
  if (value === null || typeof value !== 'object') return [String(value)];
  const entries = Object.entries(value).filter(([, one]) => one !== null);
  return [
    element(
      'table',
      {},
      entries.map(([name, one]) => {
        const head = element('th', { text: name.replace(/([A-Z])/g, ' $1').toLowerCase() });
        head.setAttribute('scope', 'row');
        return element('tr', {}, [head, element('td', { className: 'wide' }, describeFound(one, 'none'))]);
      }),
    ),
  ];
}
