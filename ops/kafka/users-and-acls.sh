#!/bin/sh
# Makes the users of Kafka with their passwords (SCRAM-SHA-512) and grants each what it needs, by acls.sh. compose.yaml runs it
# before the services. It can be run again and again: passwords that have changed are taken over. No password is an argument,
# which others could see.
#
# KAFKA_BROKERS: a listener where the superuser `admin` logs in by PLAIN over TLS. KAFKA_SSL_CA_LOCATION: who signs its certificate.
# KAFKA_ADMIN_PASSWORD, KAFKA_READER_PASSWORD, KAFKA_SINK_PASSWORD, KAFKA_TOOLS_PASSWORD: letters and digits. KAFKA_CONFIGS and
# KAFKA_ACLS are the commands (kafka-configs.sh, kafka-acls.sh).
set -eu

: "${KAFKA_READER_PASSWORD:?}" "${KAFKA_SINK_PASSWORD:?}" "${KAFKA_TOOLS_PASSWORD:?}"
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/admin.properties" <<END
security.protocol=SASL_SSL
ssl.truststore.type=PEM
ssl.truststore.location=${KAFKA_SSL_CA_LOCATION:?}
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="admin" \
  password="${KAFKA_ADMIN_PASSWORD:?}";
END

make_user() {
  echo "SCRAM-SHA-512=password=$2" >"$work/user.properties"
  "${KAFKA_CONFIGS:-kafka-configs.sh}" --bootstrap-server "${KAFKA_BROKERS:?}" --command-config "$work/admin.properties" \
    --alter --entity-type users --entity-name "$1" --add-config-file "$work/user.properties"
}

make_user reader "$KAFKA_READER_PASSWORD"
make_user sink "$KAFKA_SINK_PASSWORD"
make_user tools "$KAFKA_TOOLS_PASSWORD"
"$(dirname "$0")/acls.sh" --command-config "$work/admin.properties"
