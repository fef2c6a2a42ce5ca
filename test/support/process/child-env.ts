/**
 * What a process under test inherits of this one's environment, and nothing else: a developer's KAFKA_BROKERS or database
 * URLs must never reach it. NODE_COMPILE_CACHE is global-setup.ts's, which starts hundreds of the same programs.
 */
export function childEnv(): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR, NODE_V8_COVERAGE, NODE_COMPILE_CACHE } = process.env;
  return { PATH, HOME, TMPDIR, NODE_V8_COVERAGE, NODE_COMPILE_CACHE };
}

/** What has a process under test stop at named moments (failpoints.ts): Node's arguments and its variable. */
export function withFailpoints(failpoints: string | undefined): { nodeArgs: string[]; env: Record<string, string> } {
  if (failpoints === undefined) return { nodeArgs: [], env: {} };
  return {
    nodeArgs: ['--import', './test/support/process/failpoints.ts'],
    env: { TILLSTREAM_FAILPOINTS: failpoints },
  };
}
