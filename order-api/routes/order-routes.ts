import type { Queryable } from '@databases/pg';
import type { ZodFastifyInstance } from '#service/http-server.ts';
import type { OrderCounters } from '../order-counters.ts';

/** What the routes of this service are made of. */
export interface OrderRoutes {
  readonly app: ZodFastifyInstance;
  readonly database: Queryable;
  readonly counters: OrderCounters;
}
