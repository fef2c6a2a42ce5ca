// The spans of one transaction of the sink, with tracing on: one for each sampled order, in the order's own trace.
import { SpanKind, type Tracer } from '@opentelemetry/api';
import { contextOf, spanContextOf } from '#service/tracing/tracing.ts';
import type { Batch } from './batch.ts';

/** A transaction may have thousands of orders; each of these is a request to who collects spans. */
const MOST_SPANS = 256;

/** For what the carts database has committed. @param startedAt milliseconds since 1970 */
export function recordApplySpans(tracer: Tracer, batches: readonly Batch[], startedAt: number): void {
  let left = MOST_SPANS;
  for (const { topic, partition, consumerGroup, entries } of batches) {
    for (const entry of entries) {
      if (entry.kind !== 'order' || entry.traceparent === undefined) continue;
      const isSampled = spanContextOf(entry.traceparent)?.traceFlags === 1;
      if (!isSampled) continue;
      const attributes = {
        'messaging.system': 'kafka',
        'messaging.operation.type': 'process',
        'messaging.destination.name': topic,
        'messaging.destination.partition.id': String(partition),
        'messaging.consumer.group.name': consumerGroup,
        'messaging.kafka.offset': Number(entry.offset),
      };
      const options = { kind: SpanKind.CONSUMER, startTime: startedAt, attributes };
      tracer.startSpan(`apply ${topic}`, options, contextOf(entry.traceparent)).end();
      left -= 1;
      if (left === 0) return;
    }
  }
}
