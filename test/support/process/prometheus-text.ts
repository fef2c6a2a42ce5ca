/** Parses the Prometheus text format into the value of each series, by its name with its labels as written. */
export function parseMetrics(text: string): Map<string, number> {
  const series = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const match = /^([^{\s]+(?:\{.*\})?)\s+(\S+)/.exec(line);
    if (match === null) throw new Error(`Not a line of Prometheus text: ${line}`);
    const value = match[2]!.replace('+Inf', 'Infinity').replace('-Inf', '-Infinity');
    series.set(match[1]!, Number(value));
  }
  return series;
}
