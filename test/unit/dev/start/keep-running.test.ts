import { describe, expect, it } from 'vitest';
import { waitFor } from '../../../../dev/process/wait-for.ts';
import { keepRunning } from '../../../../dev/start/keep-running.ts';

/** A server that runs or not, and whose next starts fail as often as told. */
function createFakeServer() {
  const state = { runs: true, starts: 0, failures: 0 };
  const server = {
    what: 'Kafka',
    pid: () => {
      if (!state.runs) throw new Error('It does not run.');
      return 7;
    },
    start: async () => {
      state.starts += 1;
      if (state.failures-- > 0) throw new Error('the port is taken');
      state.runs = true;
    },
  };
  return { state, server };
}

describe('a server of npm start', () => {
  it('is started again when it has ended, until the watch ends', async () => {
    const { state, server } = createFakeServer();
    const said: string[] = [];
    const end = keepRunning(server, (message) => said.push(message), { everyMs: 1 });
    state.runs = false;
    await waitFor('the restart', () => said.includes('Kafka runs again (process 7).'));
    expect(said[0]).toBe('Kafka has ended, and is started again.');
    await end();
    state.runs = false;
    // Nothing must happen any more: several looks' time.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(state.starts).toBe(1);
  });

  it('is tried again when it could not be started, and the reason is said', async () => {
    const { state, server } = createFakeServer();
    state.failures = 2;
    state.runs = false;
    const said: string[] = [];
    const end = keepRunning(server, (message) => said.push(message), { everyMs: 1, afterFailureMs: 2 });
    await waitFor('the restart', () => state.runs);
    await end();
    expect(state.starts).toBe(3);
    expect(said.filter((message) => message.includes('the port is taken')).length).toBe(2);
  });
});
