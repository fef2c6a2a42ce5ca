// Which versions of Postgres and Kafka local servers are of: the usual ones, unless a variable asks for others. The suites
// that run on several versions set them for a whole run, so that servers which a test starts for itself follow too.

/** The major version of Postgres, in place of the installed one. */
export const postgresVersionVariable = 'TILLSTREAM_TEST_POSTGRES';
/** Kafka, as `3.9`. */
export const kafkaVersionVariable = 'TILLSTREAM_TEST_KAFKA';

/** What the variable's word stands for at Maven Central; the last one is the usual. */
export const kafkaVersions: Readonly<Record<string, string>> = { '3.9': '3.9.2', '4.4': '4.4.0' };
const USUAL_KAFKA = '4.4.0';

/** The major version that was asked for. Throws when the variable holds no number. */
export function wantedPostgresMajor(): number | undefined {
  const text = process.env[postgresVersionVariable];
  if (text === undefined || text === '') return undefined;
  if (!/^[1-9]\d$/.test(text))
    throw new Error(`${postgresVersionVariable} is a major version such as 17, not ${text}.`);
  return Number(text);
}

/** Throws when the variable names a version that is not known to work here. */
export function wantedKafkaVersion(): string {
  const text = process.env[kafkaVersionVariable];
  if (text === undefined || text === '') return USUAL_KAFKA;
  const version = kafkaVersions[text];
  if (version === undefined)
    throw new Error(`${kafkaVersionVariable} is one of ${Object.keys(kafkaVersions).join(', ')}, not ${text}.`);
  return version;
}
