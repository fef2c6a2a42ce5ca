// What follows from a failure with Kafka: one table over every error code of the protocol (Kafka 4.4, class Errors), with
// the three answers of service/failure.ts. A code that says that the client's request was wrong is unknown: a few tries,
// then waiting with the error as it is. kafkajs knows the codes up to 88 by name; the others it reports by number. Pure.
import { causesOf, classifyFailure, type Failure } from '#service/failure.ts';
import { explainTlsFailure, TlsError, type TlsPeer } from '#service/security/tls-failure.ts';
import { kafkaErrorType } from './errors.ts';
import {
  CLUSTER_ACL,
  CLUSTER_FULL,
  GROUP_ACL,
  LOGIN,
  MECHANISM,
  PROTOCOL,
  TOPIC_ACL,
  TOPIC_SETTING,
  TRANSACTION_ACL,
} from './remedies.ts';

type Answer = 'transient' | 'unknown' | readonly [name: string, remedy: string];

/** By the protocol's number: Kafka's name of the code, and what follows. */
export const kafkaErrors: Readonly<Record<number, readonly [type: string, answer: Answer]>> = {
  [-1]: ['UNKNOWN_SERVER_ERROR', 'transient'], // what brokers answer while they start or stop; the cause is in their log
  1: ['OFFSET_OUT_OF_RANGE', 'unknown'],
  2: ['CORRUPT_MESSAGE', 'transient'],
  3: ['UNKNOWN_TOPIC_OR_PARTITION', 'transient'],
  4: ['INVALID_FETCH_SIZE', 'unknown'],
  5: ['LEADER_NOT_AVAILABLE', 'transient'],
  6: ['NOT_LEADER_OR_FOLLOWER', 'transient'],
  7: ['REQUEST_TIMED_OUT', 'transient'],
  8: ['BROKER_NOT_AVAILABLE', 'transient'],
  9: ['REPLICA_NOT_AVAILABLE', 'transient'],
  10: ['MESSAGE_TOO_LARGE', 'unknown'],
  11: ['STALE_CONTROLLER_EPOCH', 'transient'],
  12: ['OFFSET_METADATA_TOO_LARGE', 'unknown'],
  13: ['NETWORK_EXCEPTION', 'transient'],
  14: ['COORDINATOR_LOAD_IN_PROGRESS', 'transient'],
  15: ['COORDINATOR_NOT_AVAILABLE', 'transient'],
  16: ['NOT_COORDINATOR', 'transient'],
  17: [
    'INVALID_TOPIC_EXCEPTION',
    ['TOPIC_NAME', 'Correct the topic’s name: letters, digits, dot, hyphen, underscore, 249 at most.'],
  ],
  18: ['RECORD_LIST_TOO_LARGE', 'unknown'],
  19: ['NOT_ENOUGH_REPLICAS', 'transient'],
  20: ['NOT_ENOUGH_REPLICAS_AFTER_APPEND', 'transient'],
  21: ['INVALID_REQUIRED_ACKS', 'unknown'],
  22: ['ILLEGAL_GENERATION', 'transient'],
  23: [
    'INCONSISTENT_GROUP_PROTOCOL',
    ['GROUP_IN_USE', 'Another program uses this consumer group: choose another CONSUMER_GROUP, or stop it.'],
  ],
  24: ['INVALID_GROUP_ID', ['GROUP_IN_USE', 'Choose another CONSUMER_GROUP.']],
  25: ['UNKNOWN_MEMBER_ID', 'transient'],
  26: [
    'INVALID_SESSION_TIMEOUT',
    [
      'SESSION_TIMEOUT',
      'Set SESSION_TIMEOUT_MS within the broker’s group.min.session.timeout.ms and group.max.session.timeout.ms.',
    ],
  ],
  27: ['REBALANCE_IN_PROGRESS', 'transient'],
  28: ['INVALID_COMMIT_OFFSET_SIZE', 'unknown'],
  29: ['TOPIC_AUTHORIZATION_FAILED', TOPIC_ACL],
  30: ['GROUP_AUTHORIZATION_FAILED', GROUP_ACL],
  31: ['CLUSTER_AUTHORIZATION_FAILED', CLUSTER_ACL],
  32: [
    'INVALID_TIMESTAMP',
    [
      'TIMESTAMP_REFUSED',
      'The topic’s message.timestamp.before.max.ms or message.timestamp.after.max.ms refuses this machine’s clock: correct the clock, or raise the setting.',
    ],
  ],
  33: ['UNSUPPORTED_SASL_MECHANISM', MECHANISM],
  34: ['ILLEGAL_SASL_STATE', 'transient'],
  35: [
    'UNSUPPORTED_VERSION',
    ['KAFKA_VERSION', 'The broker does not speak this request: use a Kafka version that README.md names.'],
  ],
  36: ['TOPIC_ALREADY_EXISTS', 'transient'],
  37: ['INVALID_PARTITIONS', TOPIC_SETTING],
  38: [
    'INVALID_REPLICATION_FACTOR',
    ['TOPIC_SETTING', 'There are fewer brokers than the replication factor: start them, or lower TOPIC_REPLICATION.'],
  ],
  39: ['INVALID_REPLICA_ASSIGNMENT', TOPIC_SETTING],
  40: ['INVALID_CONFIG', TOPIC_SETTING],
  41: ['NOT_CONTROLLER', 'transient'],
  42: ['INVALID_REQUEST', 'unknown'],
  43: ['UNSUPPORTED_FOR_MESSAGE_FORMAT', TOPIC_SETTING],
  44: [
    'POLICY_VIOLATION',
    ['TOPIC_POLICY', 'A policy of the cluster refuses the topic: create it as the policy wants, or change the policy.'],
  ],
  45: ['OUT_OF_ORDER_SEQUENCE_NUMBER', 'transient'],
  46: ['DUPLICATE_SEQUENCE_NUMBER', 'transient'],
  47: ['INVALID_PRODUCER_EPOCH', 'transient'],
  48: ['INVALID_TXN_STATE', 'transient'],
  49: ['INVALID_PRODUCER_ID_MAPPING', 'transient'],
  50: [
    'INVALID_TRANSACTION_TIMEOUT',
    [
      'TRANSACTION_TIMEOUT',
      'Set TRANSACTION_TIMEOUT_MS to at most the broker’s transaction.max.timeout.ms, or raise that.',
    ],
  ],
  51: ['CONCURRENT_TRANSACTIONS', 'transient'],
  52: ['TRANSACTION_COORDINATOR_FENCED', 'transient'],
  53: ['TRANSACTIONAL_ID_AUTHORIZATION_FAILED', TRANSACTION_ACL],
  54: ['SECURITY_DISABLED', PROTOCOL],
  55: ['OPERATION_NOT_ATTEMPTED', 'transient'],
  56: ['KAFKA_STORAGE_ERROR', 'transient'],
  57: ['LOG_DIR_NOT_FOUND', 'transient'],
  58: ['SASL_AUTHENTICATION_FAILED', LOGIN],
  59: ['UNKNOWN_PRODUCER_ID', 'transient'],
  60: ['REASSIGNMENT_IN_PROGRESS', 'transient'],
  61: ['DELEGATION_TOKEN_AUTH_DISABLED', LOGIN],
  62: ['DELEGATION_TOKEN_NOT_FOUND', LOGIN],
  63: ['DELEGATION_TOKEN_OWNER_MISMATCH', LOGIN],
  64: ['DELEGATION_TOKEN_REQUEST_NOT_ALLOWED', LOGIN],
  65: ['DELEGATION_TOKEN_AUTHORIZATION_FAILED', LOGIN],
  66: ['DELEGATION_TOKEN_EXPIRED', LOGIN],
  67: ['INVALID_PRINCIPAL_TYPE', LOGIN],
  68: ['NON_EMPTY_GROUP', 'unknown'],
  69: ['GROUP_ID_NOT_FOUND', 'transient'],
  70: ['FETCH_SESSION_ID_NOT_FOUND', 'transient'],
  71: ['INVALID_FETCH_SESSION_EPOCH', 'transient'],
  72: ['LISTENER_NOT_FOUND', 'transient'],
  73: ['TOPIC_DELETION_DISABLED', 'unknown'],
  74: ['FENCED_LEADER_EPOCH', 'transient'],
  75: ['UNKNOWN_LEADER_EPOCH', 'transient'],
  76: ['UNSUPPORTED_COMPRESSION_TYPE', TOPIC_SETTING],
  77: ['STALE_BROKER_EPOCH', 'transient'],
  78: ['OFFSET_NOT_AVAILABLE', 'transient'],
  79: ['MEMBER_ID_REQUIRED', 'transient'],
  80: ['PREFERRED_LEADER_NOT_AVAILABLE', 'transient'],
  81: ['GROUP_MAX_SIZE_REACHED', CLUSTER_FULL],
  82: ['FENCED_INSTANCE_ID', 'transient'],
  83: ['ELIGIBLE_LEADERS_NOT_AVAILABLE', 'transient'],
  84: ['ELECTION_NOT_NEEDED', 'transient'],
  85: ['NO_REASSIGNMENT_IN_PROGRESS', 'unknown'],
  86: ['GROUP_SUBSCRIBED_TO_TOPIC', 'unknown'],
  87: ['INVALID_RECORD', TOPIC_SETTING], // a compacted topic refuses records without a key; an interceptor of the broker
  88: ['UNSTABLE_OFFSET_COMMIT', 'transient'],
  89: ['THROTTLING_QUOTA_EXCEEDED', 'transient'],
  90: ['PRODUCER_FENCED', 'transient'],
  91: ['RESOURCE_NOT_FOUND', 'unknown'],
  92: ['DUPLICATE_RESOURCE', 'unknown'],
  93: ['UNACCEPTABLE_CREDENTIAL', LOGIN],
  94: ['INCONSISTENT_VOTER_SET', 'unknown'],
  95: ['INVALID_UPDATE_VERSION', 'unknown'],
  96: ['FEATURE_UPDATE_FAILED', 'unknown'],
  97: ['PRINCIPAL_DESERIALIZATION_FAILURE', LOGIN],
  98: ['SNAPSHOT_NOT_FOUND', 'transient'],
  99: ['POSITION_OUT_OF_RANGE', 'unknown'],
  100: ['UNKNOWN_TOPIC_ID', 'transient'],
  101: ['DUPLICATE_BROKER_REGISTRATION', 'transient'],
  102: ['BROKER_ID_NOT_REGISTERED', 'transient'],
  103: ['INCONSISTENT_TOPIC_ID', 'transient'],
  104: [
    'INCONSISTENT_CLUSTER_ID',
    ['KAFKA_CLUSTER', 'KAFKA_BROKERS leads to brokers of several clusters: name those of one.'],
  ],
  105: ['TRANSACTIONAL_ID_NOT_FOUND', 'transient'],
  106: ['FETCH_SESSION_TOPIC_ID_ERROR', 'transient'],
  107: ['INELIGIBLE_REPLICA', 'transient'],
  108: ['NEW_LEADER_ELECTED', 'transient'],
  109: ['OFFSET_MOVED_TO_TIERED_STORAGE', 'transient'],
  110: ['FENCED_MEMBER_EPOCH', 'transient'],
  111: ['UNRELEASED_INSTANCE_ID', 'transient'],
  112: [
    'UNSUPPORTED_ASSIGNOR',
    ['GROUP_IN_USE', 'Another program uses this consumer group: choose another CONSUMER_GROUP, or stop it.'],
  ],
  113: ['STALE_MEMBER_EPOCH', 'transient'],
  114: ['MISMATCHED_ENDPOINT_TYPE', ['KAFKA_BROKERS', 'KAFKA_BROKERS names a controller: name brokers.']],
  115: ['UNSUPPORTED_ENDPOINT_TYPE', ['KAFKA_BROKERS', 'KAFKA_BROKERS names a controller: name brokers.']],
  116: ['UNKNOWN_CONTROLLER_ID', 'transient'],
  117: ['UNKNOWN_SUBSCRIPTION_ID', 'unknown'],
  118: ['TELEMETRY_TOO_LARGE', 'unknown'],
  119: ['INVALID_REGISTRATION', 'unknown'],
  120: ['TRANSACTION_ABORTABLE', 'transient'],
  121: ['INVALID_RECORD_STATE', 'unknown'],
  122: ['SHARE_SESSION_NOT_FOUND', 'transient'],
  123: ['INVALID_SHARE_SESSION_EPOCH', 'transient'],
  124: ['FENCED_STATE_EPOCH', 'transient'],
  125: ['INVALID_VOTER_KEY', 'unknown'],
  126: ['DUPLICATE_VOTER', 'unknown'],
  127: ['VOTER_NOT_FOUND', 'unknown'],
  128: ['INVALID_REGULAR_EXPRESSION', 'unknown'],
  129: ['REBOOTSTRAP_REQUIRED', 'transient'],
  130: ['STREAMS_INVALID_TOPOLOGY', 'unknown'],
  131: ['STREAMS_INVALID_TOPOLOGY_EPOCH', 'unknown'],
  132: ['STREAMS_TOPOLOGY_FENCED', 'unknown'],
  133: ['SHARE_SESSION_LIMIT_REACHED', 'transient'],
  134: ['GROUP_DELETION_FAILED', 'unknown'],
  135: ['STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED', 'unknown'],
  136: ['CONTROLLER_ID_NOT_REGISTERED', 'unknown'],
};

/** kafkajs's errors without a code of the protocol: it did not reach a broker, or got no answer. */
const UNREACHABLE =
  /^KafkaJS(Connection|ConnectionClosed|RequestTimeout|Timeout|LockTimeout|NoBrokerAvailable|BrokerNotFound|GroupCoordinatorNotFound|MetadataNotLoaded|TopicMetadataNotLoaded|StaleTopicMetadataAssignment|NumberOfRetriesExceeded|FetcherRebalance)/;

/** Classifies a failure with Kafka, or with anything else that service/failure.ts knows. */
export function classifyKafkaFailure(error: unknown): Failure {
  const answer = findAnswer(error);
  if (answer === undefined || answer === 'unknown') return classifyTransport(error);
  return answer === 'transient'
    ? { kind: 'transient', reason: kafkaErrorType(error) ?? 'KAFKA_AWAY' }
    : { kind: 'waiting', name: answer[0], remedy: answer[1] };
}

function findAnswer(error: unknown): Answer | undefined {
  for (const cause of causesOf(error)) {
    const { type, code } = cause as { type?: unknown; code?: unknown };
    if (cause.name === 'KafkaJSSASLAuthenticationError') return NOT_OFFERED.test(cause.message) ? MECHANISM : LOGIN;
    if (typeof type !== 'string') continue;
    // kafkajs's number for a code that it does not know is -99; the code itself is in its message.
    const number = type === 'KAFKAJS_UNKNOWN_ERROR_CODE' ? Number(/\d+$/.exec(cause.message)?.[0]) : Number(code);
    return kafkaErrors[number]?.[1] ?? 'unknown';
  }
  return undefined;
}

const NOT_OFFERED = /mechanism is not supported/;
/** What connections.ts could not open a connection for: kafkajs keeps code and message. */
const UNUSABLE_FILE = /^(TLS_FILE|SECRET_FILE)$/;
const PEER: TlsPeer = {
  server: 'Kafka',
  variables: { address: 'KAFKA_BROKERS', ca: 'KAFKA_SSL_CA_LOCATION', certificate: 'KAFKA_SSL_CERTIFICATE_LOCATION' },
};

/** A wrong certificate or login is reported by kafkajs as a connection that failed, so the cause goes first. */
function classifyTransport(error: unknown): Failure {
  for (const cause of causesOf(error)) {
    const { code } = cause as { code?: unknown };
    if (UNUSABLE_FILE.test(String(code))) return { kind: 'waiting', name: String(code), remedy: '' };
    const explained = explainTlsFailure(cause, PEER);
    if (explained !== cause && explained instanceof TlsError) {
      return { kind: 'waiting', name: explained.code, remedy: explained.message };
    }
  }
  const failure = classifyFailure(error);
  if (failure.kind !== 'unknown') return failure;
  const isUnreachable = [...causesOf(error)].some(
    ({ name, code }: Error & { code?: unknown }) => UNREACHABLE.test(name) || code === 'KAFKA_AWAY',
  );
  return isUnreachable ? { kind: 'transient', reason: 'KAFKA_AWAY' } : failure;
}
