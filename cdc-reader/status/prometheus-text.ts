// The text that GET /metrics answers with, as samples by name. Pure. Left out: help, types, and what is no finite number but
// +Inf as a bucket's bound, which is a label. Format: https://prometheus.io/docs/instrumenting/exposition_formats/

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export type Samples = ReadonlyMap<string, readonly Sample[]>;

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:\\.|[^"\\])*)"/g;
const UNESCAPED: Readonly<Record<string, string>> = { n: '\n', '"': '"', '\\': '\\' };

export function parsePrometheusText(text: string): Samples {
  const samples = new Map<string, Sample[]>();
  for (const line of text.split('\n')) {
    const [, name, labels = '', number] = LINE.exec(line) ?? [];
    if (name === undefined || !Number.isFinite(Number(number))) continue;
    const pairs = [...labels.matchAll(LABEL)].map(([, label, value]) => [
      label!,
      value!.replace(/\\(.)/g, (_, character: string) => UNESCAPED[character] ?? character),
    ]);
    const known = samples.get(name);
    const sample = { labels: Object.fromEntries(pairs) as Record<string, string>, value: Number(number) };
    if (known === undefined) samples.set(name, [sample]);
    else known.push(sample);
  }
  return samples;
}

/** The sample with these labels, whatever others it has; undefined: none. */
export function findValue(
  samples: Samples,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const wanted = Object.entries(labels);
  return samples.get(name)?.find((sample) => wanted.every(([label, value]) => sample.labels[label] === value))?.value;
}

/** Of all samples of that name; undefined where there is none. */
export function sumValues(samples: Samples, name: string): number | undefined {
  const found = samples.get(name);
  return found?.reduce((sum, { value }) => sum + value, 0);
}
