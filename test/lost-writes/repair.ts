// From a halt to whole carts by the commands that halts name, as an operator would: adopt for the reader and for the sinks, the
// live topic deleted where adopt asks for an empty one, both started again, and a replay from the tables. Throws with what the
// command wrote that did not do its part.
import { withKafkaAdmin } from '../support/kafka/admin.ts';
import { runTool, type ToolName } from '../support/process/tool-process.ts';
import type { PipelineStage } from '../support/stack/pipeline-stage.ts';
import { waitFor } from '../support/wait.ts';

const toolDeadlineMs = 120_000;

/** Reader and sinks must have been stopped. */
export async function repair({ environment, startStreaming, startSink }: PipelineStage): Promise<void> {
  const { env, servers } = environment;
  const run = async (name: ToolName, args: readonly string[], accepted: RegExp): Promise<string> => {
    const { code, stdout, stderr } = await runTool(name, args, env, { killAfterMs: toolDeadlineMs });
    if (code === 0 || accepted.test(stderr)) return stderr;
    throw new Error(`npm run ${name} -- ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`);
  };
  const nothingWrong = /nothing wrong is found/;
  const needsEmpty = /needs an empty live topic/;
  const refusal = await run('adopt', ['reader', '--yes'], new RegExp(`${nothingWrong.source}|${needsEmpty.source}`));
  if (needsEmpty.test(refusal)) {
    await withKafkaAdmin(servers.directBrokers, async (admin) => {
      await admin.deleteTopics({ topics: [env.ORDERS_TOPIC] });
      await waitFor('the topic to be gone', async () => !(await admin.listTopics()).includes(env.ORDERS_TOPIC));
    });
    await run('adopt', ['reader', '--yes'], nothingWrong);
  }
  await run('adopt', ['sink', '--yes'], nothingWrong);
  await startStreaming();
  await startSink();
  await run('replay', ['--source', 'tables', '--yes'], /(?!)/);
}
