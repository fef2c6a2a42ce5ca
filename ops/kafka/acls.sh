#!/bin/sh
# Grants the reader, the sinks and the operators' tools what each needs in Kafka, and nothing on the cluster. A principal that may
# ALTER the cluster runs it; it can be run again and again, and takes nothing away. READ and WRITE include DESCRIBE.
#
#   KAFKA_BROKERS=host:9092 ops/kafka/acls.sh [more options of kafka-acls.sh, as --command-config admin.properties]
#
# Topics, slot and group by the variables of the services, with the same defaults. Principals: READER_PRINCIPAL (User:reader),
# SINK_PRINCIPAL (User:sink), TOOLS_PRINCIPAL (User:tools). KAFKA_ACLS is the command (kafka-acls.sh). The reader's CREATE is for
# its first start: where you make the topics yourself, set READER_CREATES_TOPICS=no.
set -eu

orders=${ORDERS_TOPIC:-orders.placed}
replay=${REPLAY_TOPIC:-orders.placed.replay}
slot=${SLOT_NAME:-tillstream}
checkpoint=${CHECKPOINT_TOPIC:-cdc.checkpoints.$slot}
group=${CONSUMER_GROUP:-cart-sink}
reader=${READER_PRINCIPAL:-User:reader}
sink=${SINK_PRINCIPAL:-User:sink}
tools=${TOOLS_PRINCIPAL:-User:tools}
: "${KAFKA_BROKERS:?set KAFKA_BROKERS to host:port,…}"

grant() {
  principal=$1
  shift
  "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$KAFKA_BROKERS" "$@" --add --allow-principal "$principal"
}

# Both are the live topic's and the checkpoint's: what was published is read again at each start.
grant "$reader" --topic "$orders" --topic "$checkpoint" --operation Read --operation Write --operation DescribeConfigs "$@"
grant "$reader" --topic "$replay" --operation Describe --operation DescribeConfigs "$@"
grant "$reader" --transactional-id "tillstream.cdc-reader.$slot" --operation Write "$@"
if [ "${READER_CREATES_TOPICS:-yes}" != no ]; then
  grant "$reader" --topic "$orders" --topic "$checkpoint" --topic "$replay" --operation Create "$@"
fi

grant "$sink" --topic "$orders" --topic "$replay" --operation Read --operation DescribeConfigs "$@"
grant "$sink" --group "$group" --operation Read "$@"

grant "$tools" --topic "$orders" --topic "$checkpoint" --operation Read "$@"
grant "$tools" --topic "$replay" --operation Read --operation Write "$@"
grant "$tools" --transactional-id "tillstream.replay.$replay" --operation Write "$@"
