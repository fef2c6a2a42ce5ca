// Traces over OTLP (OpenTelemetry), for who has set an endpoint. Guarantees: without one nothing of the SDK is loaded, and
// tracing costs whoever asks for the tracer one comparison; a receiver that is away costs spans, never an order. Which spans
// there are is left to the services; sampling follows the trace context that an order brings (parentbased).
import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import type { Sampler } from '@opentelemetry/sdk-trace';
import { readVersion } from '../command-line/version.ts';
import { readEnvironment } from '../environment.ts';
import { parseTraceParent } from './trace-context.ts';
import { tracingVariables } from './variables.ts';

/** Spans that are not sent when the process ends within this are lost. */
const STOP_LIMIT_MS = 1_000;

let tracer: Tracer | undefined;
let shutdown: (() => Promise<void>) | undefined;

/** Undefined unless an endpoint is set. */
export const activeTracer = (): Tracer | undefined => tracer;

/** @throws ConfigurationError */
export async function startTracing(service: string, env: Readonly<Record<string, string | undefined>>): Promise<void> {
  const config = readEnvironment(tracingVariables, env);
  if ((config.otlpEndpoint ?? config.otlpTracesEndpoint) === undefined || config.isTracingOff === 'true') return;
  const [sdk, { OTLPTraceExporter }, { resourceFromAttributes, detectResources, envDetector }] = await Promise.all([
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ]);
  const base = samplerOf(sdk, config.traceSampler, Number(config.traceShare));
  const resource = resourceFromAttributes({ 'service.name': service, 'service.version': readVersion() });
  const provider = new sdk.TracerProvider({
    resource: resource.merge(detectResources({ detectors: [envDetector] })),
    sampler: config.traceSampler.startsWith('parentbased') ? new sdk.ParentBasedSampler({ root: base }) : base,
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  });
  tracer = provider.getTracer('tillstream', readVersion());
  shutdown = () => provider.shutdown();
}

function samplerOf(sdk: typeof import('@opentelemetry/sdk-trace'), name: string, share: number): Sampler {
  if (name.endsWith('always_off')) return new sdk.AlwaysOffSampler();
  return name.endsWith('ratio') ? new sdk.TraceIdRatioBasedSampler(share) : new sdk.AlwaysOnSampler();
}

/** Sends what is left. */
export async function stopTracing(): Promise<void> {
  const stop = shutdown;
  tracer = undefined;
  shutdown = undefined;
  if (stop === undefined) return;
  const { promise: limit, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, STOP_LIMIT_MS);
  // A receiver that is away must not hold up, nor fail, the stop.
  await Promise.race([stop().catch(() => undefined), limit]);
  clearTimeout(timer);
}

/** What a span is a child of; a new trace where `traceparent` is none. */
export function contextOf(traceparent: string | undefined): Context {
  const spanContext = traceparent === undefined ? undefined : spanContextOf(traceparent);
  return spanContext === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, spanContext);
}

/** Undefined for what is no trace context. */
export function spanContextOf(traceparent: string): SpanContext | undefined {
  const parent = parseTraceParent(traceparent);
  if (parent === undefined) return undefined;
  const { traceId, spanId, isSampled } = parent;
  return { traceId, spanId, traceFlags: isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE, isRemote: true };
}

export function traceparentOf(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
}

/** Runs `work` inside a span, whose end, and failure, is that of the work. */
export async function inSpan<T>(span: Span, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    failSpan(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/** The kind of the error alone: messages may hold what a trace should not. */
export function failSpan(span: Span, error: unknown): void {
  const { name, code } = error as { name?: unknown; code?: unknown };
  span.setAttribute('error.type', String(code ?? name));
  span.setStatus({ code: SpanStatusCode.ERROR });
}
