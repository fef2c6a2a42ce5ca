// Between the stream, which exists first, and the pipeline, which is attached once it may publish. Guarantees: what a
// handler throws ends this start with that very error, and the end of either connection does too.

import type { StreamHandlers } from '../postgres/replication-stream.ts';
import type { Lifeline } from '../supervise/lifeline.ts';
import { SourceSessionEndedError } from '../supervise/restart-errors.ts';

export type MessageHandlers = Pick<StreamHandlers, 'onMessage' | 'onKeepalive'>;

export interface StreamRelay extends StreamHandlers {
  attach(handlers: MessageHandlers): void;
  detach(): void;
  /**
   * The ordinary session with the server has ended: a fast shutdown ends those first. Without it the publication
   * can't be looked at, so nothing can be acknowledged, and the server must not wait for that.
   */
  sourceEnded(error: Error): void;
}

export function createStreamRelay(lifeline: Lifeline): StreamRelay {
  let attached: MessageHandlers | undefined;
  const guard = (handle: () => void): void => {
    try {
      handle();
    } catch (error) {
      attached = undefined;
      lifeline.fail(error as Error);
    }
  };
  return {
    attach: (handlers) => {
      attached = handlers;
    },
    detach: () => {
      attached = undefined;
    },
    onMessage: (message) => guard(() => attached?.onMessage(message)),
    onKeepalive: (keepalive) => guard(() => attached?.onKeepalive(keepalive)),
    onFailure: (error) => lifeline.fail(error),
    sourceEnded: (error) => lifeline.fail(new SourceSessionEndedError({ cause: error })),
  };
}
