// W3C trace context, as it travels with an order: from the HTTP request through a column of `orders` and a Kafka header to the
// sink. Guarantees: only what has the form of version 00 (https://www.w3.org/TR/trace-context/#traceparent-header) travels, and
// it arrives unchanged; whatever else stands in the header or the column counts as absent, for it must never stop an order.

/** The column of `orders` (no contract column), and the header of HTTP and of Kafka. */
export const TRACEPARENT = 'traceparent';
/** Every one has this length. */
export const TRACEPARENT_BYTES = 55;

const FORM = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;

export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
}

/** Undefined for what is none. */
export function parseTraceParent(text: string): TraceParent | undefined {
  const [, traceId, spanId, flags] = FORM.exec(text) ?? [];
  if (traceId === undefined) return undefined;
  return { traceId, spanId: spanId!, isSampled: (Number.parseInt(flags!, 16) & 1) === 1 };
}
