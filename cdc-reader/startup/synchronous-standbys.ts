// Whether synchronous_standby_names covers an application name. Postgres takes any walsender of that name for a
// synchronous standby, logical ones too.

/** A quoted name, or a run of characters that separate nothing. */
const TOKEN = /"((?:[^"]|"")*)"|[^\s,()"]+|\(/g;

/**
 * Whether the setting (`a, b`, `2 (a, b)`, `FIRST 2 (a, b)`, `ANY 1 (*)`) names `applicationName`; names compare
 * without case, `*` is everyone.
 */
export function matchesSynchronousStandby(setting: string, applicationName: string): boolean {
  const tokens = [...setting.matchAll(TOKEN)].map((match) => match[1]?.replaceAll('""', '"') ?? match[0]);
  // Before a parenthesis is the method and the number of standbys.
  const names = tokens.slice(tokens.indexOf('(') + 1);
  return names.some((name) => name === '*' || name.toLowerCase() === applicationName.toLowerCase());
}
