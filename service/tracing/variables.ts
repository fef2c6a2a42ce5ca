// The variables of tracing, in OpenTelemetry's names.
import { choice, matching, optional, text } from '../environment.ts';

/** Their meaning is OpenTelemetry's, whose exporter also reads OTEL_EXPORTER_OTLP_HEADERS, …_CERTIFICATE and the like. */
export const tracingVariables = {
  otlpEndpoint: optional(
    text(
      'OTEL_EXPORTER_OTLP_ENDPOINT',
      'Where traces are sent, by OTLP over HTTP (JSON), without the path; unset: nowhere',
    ),
  ),
  otlpTracesEndpoint: optional(text('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'The same, with the path')),
  isTracingOff: choice('OTEL_SDK_DISABLED', 'true: no traces, whatever else is set', ['false', 'true'], 'false'),
  traceSampler: choice(
    'OTEL_TRACES_SAMPLER',
    'Which traces are recorded; parentbased: as the caller of POST /orders has decided, if it has',
    [
      'always_on',
      'always_off',
      'traceidratio',
      'parentbased_always_on',
      'parentbased_always_off',
      'parentbased_traceidratio',
    ],
    'parentbased_always_on',
  ),
  traceShare: matching('OTEL_TRACES_SAMPLER_ARG', 'The share of traces that the samplers by ratio record', {
    form: /^(0(\.\d{1,9})?|1(\.0{1,9})?)$/,
    expected: 'a number from 0 to 1',
    fallback: '1',
  }),
};
