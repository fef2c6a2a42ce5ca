/** The environment variable that has the run's shared Postgres be of another major version than the installed one. */
export const postgresVersionVariable = 'TILLSTREAM_TEST_POSTGRES';

/** The major version that was asked for. Throws when the variable holds no number. */
export function testPostgresMajor(): number | undefined {
  const text = process.env[postgresVersionVariable];
  if (text === undefined || text === '') return undefined;
  if (!/^[1-9]\d$/.test(text))
    throw new Error(`${postgresVersionVariable} is a major version such as 17, not ${text}.`);
  return Number(text);
}
