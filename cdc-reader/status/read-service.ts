// What one service says of itself on its operations address: health, metrics, its events, and of a sink the carts' side. Guarantees: each
// answer has a deadline, and a service that does not answer is a reading too, with what came instead; nothing here throws. What
// the figures of several services mean together is overview.ts's.
import type { CartsStatus } from '#schemas/carts-status.ts';
import { type RecentEvents, recentEvents } from '#service/http/recent-events.ts';
import { type AskOptions, askCarts, askJson, askService } from './ask-service.ts';
import { parsePrometheusText, type Samples } from './prometheus-text.ts';

export type ServiceKind = 'order-api' | 'cdc-reader' | 'cart-sink';

export interface ServiceAddress {
  readonly kind: ServiceKind;
  readonly url: string;
}

/** In the order of the path. */
export function listServices(addresses: {
  readonly cdcReaderOperationsUrls: readonly URL[] | undefined;
  readonly orderApiOperationsUrl: readonly URL[] | undefined;
  readonly cartSinkOperationsUrls: readonly URL[] | undefined;
}): ServiceAddress[] {
  const of = (kind: ServiceKind, urls: readonly URL[] = []) =>
    urls.map(({ href }): ServiceAddress => ({ kind, url: href }));
  const { cdcReaderOperationsUrls, orderApiOperationsUrl, cartSinkOperationsUrls } = addresses;
  return [
    ...of('order-api', orderApiOperationsUrl),
    ...of('cdc-reader', cdcReaderOperationsUrls),
    ...of('cart-sink', cartSinkOperationsUrls),
  ];
}

/** The body of GET /health/pipeline. */
export type PipelineBody = Readonly<Record<string, unknown>> & { readonly state?: string };

export interface ServiceReading extends ServiceAddress {
  /** Milliseconds since 1970, when the answers had come. */
  readonly atMs: number;
  /** Undefined: it does not answer, and `problem` says how that showed. */
  readonly answer: { readonly isWell: boolean; readonly pipeline: PipelineBody; readonly metrics: Samples } | undefined;
  readonly problem: string | undefined;
  /** Undefined where it did not come, as from an older version. */
  readonly recent: ReturnType<RecentEvents['read']> | undefined;
  /** Of a sink; undefined where it was not asked for or did not come, and then `cartsProblem` says why. */
  readonly carts: CartsStatus | undefined;
  readonly cartsProblem: string | undefined;
}

/** Does not throw. */
export async function readService({ kind, url }: ServiceAddress, options: AskOptions): Promise<ServiceReading> {
  const get = (path: string) => askService(new URL(path, url), options);
  const [answer, recent, carts] = await Promise.all([
    attempt(async () => {
      const [health, metrics] = await Promise.all([get('/health/pipeline'), get('/metrics')]);
      if (!metrics.ok) throw new Error(`GET /metrics answered ${metrics.status}`);
      const pipeline = (await health.json()) as PipelineBody;
      return { isWell: health.ok, pipeline, metrics: parsePrometheusText(await metrics.text()) };
    }),
    attempt(() => askJson(new URL('/operations/events', url), recentEvents, options)),
    kind === 'cart-sink' ? attempt(() => askCarts(url, options)) : ({ value: undefined } as Attempt<CartsStatus>),
  ]);
  return {
    kind,
    url,
    atMs: Date.now(),
    answer: answer.value,
    problem: answer.problem,
    recent: recent.value,
    carts: carts.value,
    cartsProblem: carts.problem,
  };
}

interface Attempt<T> {
  readonly value: T | undefined;
  readonly problem?: string;
}

async function attempt<T>(work: () => Promise<T>): Promise<Attempt<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    return { value: undefined, problem: (error as Error).message };
  }
}
