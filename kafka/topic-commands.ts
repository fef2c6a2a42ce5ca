// The commands on topics that messages hold. In backticks, for a shell in which KAFKA_BROKERS is set as for the services.

export function alterTopicCommand(topic: string, setting: string, value: string): string {
  return `\`kafka-configs.sh --bootstrap-server "$KAFKA_BROKERS" --alter --topic ${topic} --add-config ${setting}=${value}\``;
}

export function deleteTopicCommand(topic: string): string {
  return `\`kafka-topics.sh --bootstrap-server "$KAFKA_BROKERS" --delete --topic ${topic}\``;
}
