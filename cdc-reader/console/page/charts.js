// Lines over the last 15 minutes as inline SVG, with a table of the same figures for who can't see it.
// @ts-check

const WIDTH = 600;
const HEIGHT = 100;

/**
 * @param {{label: string, className: string, values: (number | null)[]}[]} lines
 * @param {string[]} times ISO 8601, one for each value
 * @param {{title: string, format: (value: number) => string}} about
 */
export function lineChart(lines, times, { title, format }) {
  const known = lines.flatMap(({ values }) => values.filter((value) => value !== null));
  const most = Math.max(...known, 0);
  const figure = document.createElement('div');
  if (known.length < 2) {
    figure.append(paragraph(`${title}: the lines begin once some figures have come.`, 'muted'));
    return figure;
  }
  const x = (/** @type {number} */ index) => (times.length < 2 ? 0 : (index / (times.length - 1)) * WIDTH);
  const y = (/** @type {number} */ value) => HEIGHT - 4 - (most === 0 ? 0 : (value / most) * (HEIGHT - 8));
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${title}; at most ${format(most)}. The table below has the figures.`);
  for (const { className, values } of lines) {
    let isDrawing = false;
    const path = values.map((value, index) => {
      if (value === null) {
        isDrawing = false;
        return '';
      }
      const step = `${isDrawing ? 'L' : 'M'}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
      isDrawing = true;
      return step;
    });
    const element = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    element.setAttribute('class', className);
    element.setAttribute('d', path.join(''));
    svg.append(element);
  }
  const key = paragraph(`${lines.map(({ label }) => label).join(' · ')} · top of the chart: ${format(most)}`, 'key');
  figure.append(svg, key, figuresOf(lines, times, { title, format }));
  return figure;
}

/** @param {string} text @param {string} className */
function paragraph(text, className) {
  const element = document.createElement('p');
  element.className = className;
  element.textContent = text;
  return element;
}

/**
 * @param {{label: string, values: (number | null)[]}[]} lines
 * @param {string[]} times
 * @param {{title: string, format: (value: number) => string}} about
 */
function figuresOf(lines, times, { title, format }) {
  const details = document.createElement('details');
  details.id = `figures of ${title}`;
  const summary = document.createElement('summary');
  summary.textContent = 'Figures';
  const table = document.createElement('table');
  const caption = table.createCaption();
  caption.textContent = title;
  const head = table.createTHead().insertRow();
  for (const label of ['time', ...lines.map((line) => line.label)]) {
    const cell = document.createElement('th');
    cell.scope = 'col';
    cell.textContent = label;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [index, time] of times.entries()) {
    const row = body.insertRow(0);
    row.insertCell().textContent = new Date(time).toLocaleTimeString();
    for (const { values } of lines) {
      const value = values[index];
      row.insertCell().textContent = value === null || value === undefined ? '–' : format(value);
    }
  }
  details.append(summary, table);
  return details;
}
