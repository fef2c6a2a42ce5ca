// The span of one Kafka transaction, with tracing on. It belongs to the trace of its first sampled order, and links those of the
// others, as OpenTelemetry has it for batches.
import { type Link, type Span, SpanKind, type Tracer } from '@opentelemetry/api';
import type { OutgoingRecord } from '#kafka/producer/transactional-producer.ts';
import { contextOf, failSpan, spanContextOf } from '#service/tracing/tracing.ts';

/** Enough to find the neighbours of an order; a group may have thousands. */
const MOST_LINKS = 32;

export class PublishSpan {
  readonly #tracer: Tracer;
  readonly #startedAt = Date.now();
  #parent: string | undefined;
  readonly #links: Link[] = [];
  #orders = 0;

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  /** Of what is sent in the transaction. */
  add(records: readonly OutgoingRecord[]): void {
    this.#orders += records.length;
    for (const { headers } of records) {
      if (this.#links.length === MOST_LINKS) return;
      const traceparent = headers?.traceparent;
      const context = traceparent === undefined ? undefined : spanContextOf(traceparent);
      if (context === undefined || context.traceFlags === 0) continue;
      if (this.#parent === undefined) this.#parent = traceparent;
      else this.#links.push({ context });
    }
  }

  /** @param failure what the transaction failed with; undefined: Kafka has committed it */
  end(topic: string, failure?: unknown): void {
    const attributes = {
      'messaging.system': 'kafka',
      'messaging.operation.type': 'send',
      'messaging.destination.name': topic,
      'messaging.batch.message_count': this.#orders,
    };
    const options = { kind: SpanKind.PRODUCER, startTime: this.#startedAt, links: this.#links, attributes };
    const span: Span = this.#tracer.startSpan(`publish ${topic}`, options, contextOf(this.#parent));
    if (failure !== undefined) failSpan(span, failure);
    span.end();
  }
}
