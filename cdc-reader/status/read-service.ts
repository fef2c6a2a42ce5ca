// What one service says of itself on its operations address: health, metrics, its events, and of a sink the carts' side. Guarantees: each
// answer has a deadline, and a service that does not answer is a reading too, with what came instead; nothing here throws. What
// the figures of several services mean together is overview.ts's.
import { type CartsStatus, cartsStatus } from '#schemas/carts-status.ts';
import { type RecentEvents, recentEvents } from '#service/http/recent-events.ts';
import { parsePrometheusText, type Samples } from './prometheus-text.ts';

export type ServiceKind = 'order-api' | 'cdc-reader' | 'cart-sink';

export interface ServiceAddress {
  readonly kind: ServiceKind;
  readonly url: string;
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

export interface ReadOptions {
  readonly deadlineMs: number;
  /** A bearer token, read at each use. */
  readonly token?: (() => string) | undefined;
}

/** Does not throw. */
export async function readService(
  { kind, url }: ServiceAddress,
  { deadlineMs, token }: ReadOptions,
): Promise<ServiceReading> {
  const get = async (path: string): Promise<Response> =>
    fetch(new URL(path, url), {
      signal: AbortSignal.timeout(deadlineMs),
      redirect: 'error',
      headers: token === undefined ? {} : { authorization: `Bearer ${token()}` },
    });
  const [answer, recent, carts] = await Promise.all([
    attempt(async () => {
      const [health, metrics] = await Promise.all([get('/health/pipeline'), get('/metrics')]);
      if (!metrics.ok) throw new Error(`GET /metrics answered ${metrics.status}`);
      const pipeline = (await health.json()) as PipelineBody;
      return { isWell: health.ok, pipeline, metrics: parsePrometheusText(await metrics.text()) };
    }),
    attempt(async () => recentEvents.parse(await (await get('/operations/events')).json())),
    kind === 'cart-sink'
      ? attempt(async () => readCarts(await get('/operations/carts')))
      : ({ value: undefined } as Attempt<CartsStatus>),
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

async function readCarts(response: Response): Promise<CartsStatus> {
  if (response.status === 404) throw new Error('this sink is of an older version, which does not serve it');
  if (response.status === 401 || response.status === 403) {
    throw new Error('the sink asks for a token with the scope operator: set OPERATIONS_TOKEN');
  }
  if (!response.ok) throw new Error(`GET /operations/carts answered ${response.status}`);
  return cartsStatus.parse(await response.json());
}

interface Attempt<T> {
  readonly value: T | undefined;
  readonly problem?: string;
}

async function attempt<T>(work: () => Promise<T>): Promise<Attempt<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    const { name, message, cause } = error as Error & { cause?: { code?: string; message?: string } };
    if (name === 'TimeoutError') return { value: undefined, problem: 'no answer in time' };
    return { value: undefined, problem: cause?.code ?? cause?.message ?? message };
  }
}
