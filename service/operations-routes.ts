/**
 * The routes for whoever operates a service: liveness, readiness, metrics.
 *
 * Liveness says only that the process can answer, whatever its database, Kafka or pipeline do: an orchestrator that
 * restarts a halted service would lose the evidence and repair nothing.
 */
import { z } from 'zod';
import type { ZodFastifyInstance } from './http-server.ts';
import type { Metrics } from './metrics.ts';

export interface Readiness {
  readonly ready: boolean;
  /** Answered as JSON in both cases; bigints become text. */
  readonly body: Record<string, unknown>;
}

const tags = ['operations'];
const state = z.record(z.string(), z.unknown());

const liveSchema = { tags, summary: 'Does the process run?', response: { 200: state.describe('It does') } };
const readySchema = {
  tags,
  summary: 'Can the service do its work?',
  response: { 200: state.describe('It can'), 503: state.describe('It can not; the body says why') },
};
const pipelineSchema = {
  tags,
  summary: 'Does the pipeline of this service work?',
  response: {
    200: state.describe('It works, has nothing to do, or stands by'),
    503: state.describe('It retries for more than five seconds, waits for a person, or has halted; the body names why'),
  },
};
const metricsSchema = { tags, summary: 'Prometheus metrics' };

export function addOperationsRoutes(
  app: ZodFastifyInstance,
  options: {
    metrics: Metrics;
    readiness: () => Promise<Readiness> | Readiness;
    pipeline: () => Promise<Readiness> | Readiness;
  },
): void {
  app.get('/health/live', { schema: liveSchema }, () => ({ status: 'alive' }));

  for (const [path, schema, read] of [
    ['/health/ready', readySchema, options.readiness],
    ['/health/pipeline', pipelineSchema, options.pipeline],
  ] as const) {
    app.get(path, { schema }, async (_request, reply) => {
      const { ready, body } = await read();
      // As text: the answer's schema would not know what to do with a bigint.
      const text = JSON.stringify(body, (_key, value) => (typeof value === 'bigint' ? value.toString() : value));
      return reply
        .code(ready ? 200 : 503)
        .type('application/json')
        .send(text as never);
    });
  }

  app.get('/metrics', { schema: metricsSchema }, async (_request, reply) =>
    reply.type(options.metrics.registry.contentType).send(await options.metrics.render()),
  );
}
