import { expect, it } from 'vitest';
import { parseTraceParent, TRACEPARENT_BYTES } from '#service/tracing/trace-context.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const spanId = '00f067aa0ba902b7';

it.each([
  ['01', true],
  ['00', false],
  ['03', true],
  ['ff', true],
  ['02', false],
])('flags %s: sampled is %s', (flags, isSampled) => {
  const text = `00-${traceId}-${spanId}-${flags}`;
  expect(text).toHaveLength(TRACEPARENT_BYTES);
  expect(parseTraceParent(text)).toEqual({ traceId, spanId, isSampled });
});

it.each([
  '',
  `00-${traceId}-${spanId}`,
  `00-${traceId}-${spanId}-1`,
  `00-${traceId}-${spanId}-01-extra`,
  `00-${traceId.toUpperCase()}-${spanId}-01`,
  `00-${'0'.repeat(32)}-${spanId}-01`,
  `00-${traceId}-${'0'.repeat(16)}-01`,
  `01-${traceId}-${spanId}-01`,
  `ff-${traceId}-${spanId}-01`,
  ` 00-${traceId}-${spanId}-01`,
  `00-${traceId}-${spanId}-01\n`,
])('%j is none', (text) => {
  expect(parseTraceParent(text)).toBeUndefined();
});
