import { sql } from '@databases/pg';

/** Notes the version of the rule that orders' effects were last changed under. The ledger's rows must be locked. */
export const setRuleVersions = (orderIds: readonly string[], ruleVersion: number) => sql`
  UPDATE applied_orders AS ledger SET rule_version = ${ruleVersion}
  FROM unnest((SELECT ${orderIds}::uuid[])) AS changed (order_id)
  WHERE ledger.order_id = changed.order_id
`;
