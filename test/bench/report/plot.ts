// The figures of a run as one SVG: for each, how far it is towards what must be reached, and what an item costs in other shapes.
// Pure: the same figures make the same picture, so the committed picture is checked against the committed figures.
import type { Floor, ShapeRow } from './report.ts';

export interface Figures {
  readonly floors: readonly Floor[];
  readonly shapes: Readonly<Record<string, ShapeRow>>;
}

const WIDTH = 860;
const LABEL = 430;
const ROW = 22;
const CHART = WIDTH - LABEL - 120;
/** Twice what must be reached is the end of a bar. */
const MOST = 2;

/** 1: what must be reached; larger is better, whichever way the figure goes. */
export function share({ value, must, stretch }: Floor): number {
  return stretch > must ? value / must : must / value;
}

export function plotFigures({ floors, shapes }: Figures): string {
  // Those of shapes are the second chart.
  const figures = floors.filter(({ name }) => !name.startsWith('CPU an item'));
  const bars = figures.map((floor) => ({
    label: floor.name,
    part: share(floor),
    text: `${floor.value} (${floor.must})`,
    isGood: floor.met,
  }));
  const costs = Object.entries(shapes).flatMap(([name, { reader, sink }]) => [
    { label: `reader, ${name}`, part: reader, text: `× ${reader}`, isGood: reader <= 1.25 },
    { label: `sink, ${name}`, part: sink, text: `× ${sink}`, isGood: sink <= 1.25 },
  ]);
  const first = chart('Figure (must): the line is what must be reached, longer is better', bars, 0);
  const second =
    costs.length === 0
      ? { svg: '', height: first.height }
      : chart('CPU for an item, against orders of 3 items: shorter is better', costs, first.height + ROW);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${second.height}" font-family="sans-serif" font-size="13">
<title>The figures of npm run bench</title>
<rect width="100%" height="100%" fill="white"/>
${first.svg}${second.svg}</svg>
`;
}

interface Bar {
  readonly label: string;
  readonly part: number;
  readonly text: string;
  readonly isGood: boolean;
}

function chart(title: string, bars: readonly Bar[], top: number): { readonly svg: string; readonly height: number } {
  const plain = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  const rows = bars.map(({ label, part, text, isGood }, index) => {
    const y = top + ROW * (index + 1.5);
    const width = Math.round((Math.min(part, MOST) / MOST) * CHART);
    return (
      `<text x="${LABEL - 8}" y="${y + 13}" text-anchor="end">${plain(label)}</text>` +
      `<rect x="${LABEL}" y="${y}" width="${width}" height="${ROW - 6}" fill="${isGood ? '#3a7d44' : '#c8691c'}"/>` +
      `<text x="${LABEL + width + 6}" y="${y + 13}">${plain(text)}</text>\n`
    );
  });
  const end = top + ROW * (bars.length + 2);
  const line = LABEL + CHART / MOST;
  const svg =
    `<text x="10" y="${top + 18}" font-weight="bold">${plain(title)}</text>\n${rows.join('')}` +
    `<line x1="${line}" y1="${top + ROW}" x2="${line}" y2="${end - ROW / 2}" stroke="#444" stroke-dasharray="4 3"/>\n`;
  return { svg, height: end };
}
