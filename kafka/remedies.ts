// Under which names a failure with Kafka waits for a person, and what that person does: variable, setting or grant. Which
// failures these are is failure.ts's table.

/** Which grant is missing, by what Kafka refused. Its answers name the kind of thing, and rarely the thing. */
const acl = (grant: string) =>
  [
    'KAFKA_AUTHORIZATION',
    `Grant this client’s principal (kafka-acls.sh) ${grant}; docs/operations.md lists all.`,
  ] as const;
export const TOPIC_ACL = acl(
  'on topics: the reader READ, WRITE and DESCRIBE_CONFIGS on ORDERS_TOPIC and the checkpoint topic, DESCRIBE and ' +
    'DESCRIBE_CONFIGS on REPLAY_TOPIC, CREATE where it is to create them; the sink READ and DESCRIBE_CONFIGS on ORDERS_TOPIC and ' +
    'REPLAY_TOPIC; tools READ on ORDERS_TOPIC and the checkpoint topic, READ and WRITE on REPLAY_TOPIC',
);
export const GROUP_ACL = acl('READ on the group CONSUMER_GROUP');
export const CLUSTER_ACL = acl('CREATE on the topics that the reader is to create, or create them by hand');
export const TRANSACTION_ACL = acl(
  'WRITE on the transactional id: tillstream.cdc-reader. and SLOT_NAME for the reader, tillstream.replay. and REPLAY_TOPIC for replay',
);
export const LOGIN = [
  'KAFKA_AUTHENTICATION',
  'Kafka refused the login: correct KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, or the client’s certificate or token.',
] as const;
export const MECHANISM = [
  'KAFKA_MECHANISM',
  'The broker’s listener does not offer the mechanism: set KAFKA_SASL_MECHANISM to one of its sasl.enabled.mechanisms.',
] as const;
export const PROTOCOL = [
  'KAFKA_SECURITY_PROTOCOL',
  'The broker’s listener has no login: set KAFKA_SECURITY_PROTOCOL to that of the listener which KAFKA_BROKERS names.',
] as const;
export const TOPIC_SETTING = [
  'TOPIC_SETTING',
  'Correct the topic’s or the broker’s setting that the message names.',
] as const;
export const CLUSTER_FULL = ['KAFKA_LIMIT', 'Raise the broker’s limit that the message names.'] as const;
