// Every metric that the services register, by service, made in one process without any server: what the page of metrics, the alerts
// and the dashboard may name.

import { createTokenKeys } from '#service/auth/keys.ts';
import { createHaltState } from '#service/halt.ts';
import { createHttpMeters } from '#service/http/app.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics, type Metrics } from '#service/metrics.ts';
import { createPipelineHealth } from '#service/pipeline-health.ts';
import { reportPools } from '#service/postgres/pool-load.ts';
import { watchCertificates } from '#service/security/certificate-expiry.ts';
import { createCartCounters } from '../../../cart-sink/cart-api/cart-counters.ts';
import { forgetOldKeys } from '../../../cart-sink/cart-api/forget-keys.ts';
import { createSinkReporter } from '../../../cart-sink/metrics.ts';
import { reportStatus } from '../../../cart-sink/operations/status-metrics.ts';
import { createReaderMetrics } from '../../../cdc-reader/metrics.ts';
import { createOrderCounters } from '../../../order-api/routes/order-routes.ts';

export interface KnownMetric {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly labels: readonly string[];
}

const logger = createLogger('test', 'silent');
const unused = async (): Promise<never> => {
  throw new Error('nothing is read');
};

function registerCommon(metrics: Metrics): void {
  createHttpMeters(metrics);
  createHaltState(metrics, logger);
  createPipelineHealth({ metrics, logger, classify: () => ({ kind: 'unknown' }) });
  watchCertificates([{ name: 'NONE', path: '/nowhere' }], metrics, logger);
  createTokenKeys({ jwksUrl: new URL('http://127.0.0.1:1/') }, { metrics, logger });
  reportPools(metrics, {});
}

const services: Readonly<Record<string, (metrics: Metrics) => void>> = {
  'all services': registerCommon,
  'order-api': createOrderCounters,
  'cdc-reader': createReaderMetrics,
  'cart-sink': (metrics) => {
    createSinkReporter(metrics, logger);
    createCartCounters(metrics);
    reportStatus(metrics, unused);
    void forgetOldKeys({ database: { query: unused } as never, logger, metrics, signal: AbortSignal.abort() });
  },
};

/** By service; those of Node and the process are left out. */
export async function listMetrics(): Promise<ReadonlyMap<string, readonly KnownMetric[]>> {
  const common = await listOf(() => undefined);
  const found = new Map<string, readonly KnownMetric[]>();
  for (const [service, register] of Object.entries(services)) {
    const all = await listOf(register);
    const isOwn = ({ name }: KnownMetric) =>
      service === 'all services' ? true : !common.some((one) => one.name === name);
    found.set(service, all.filter(isOwn));
  }
  return found;
}

async function listOf(register: (metrics: Metrics) => void): Promise<KnownMetric[]> {
  const metrics = createMetrics('test');
  register(metrics);
  const types = new Map((await metrics.registry.getMetricsAsJSON()).map(({ name, type }) => [name, String(type)]));
  return metrics.registry
    .getMetricsAsArray()
    .map((one) => {
      const { name, help, labelNames } = one as unknown as {
        name: string;
        help: string;
        labelNames: readonly string[];
      };
      return { name, help, type: types.get(name)!, labels: labelNames.filter((label) => label !== 'le') };
    })
    .filter(({ name }) => !/^(tillstream_)?(nodejs|process)_/.test(name))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
