// Where a simulated run happens: one queue of steps, one virtual clock, and a tape of bytes that decides what comes next.
// Everything that crosses a process boundary is a step, so between any two of them any process may crash, stop for a
// while, or be overtaken. A byte of zero is always the dull choice (the oldest step, no fault), and so is the end of the
// tape: a failure shrinks to the few choices that matter. The code under test runs between steps, as itself.

/** A process of ours: what it holds in memory is gone with it, what it has sent is not. */
export interface Process {
  readonly name: string;
  /** Of 256 operations with other machines, how many fail while the tape lasts. */
  readonly faults: number;
  isAlive: boolean;
  isFrozen: boolean;
  /** What servers do once they learn that it has died. */
  readonly onDeath: (() => void)[];
}

interface Step {
  /** Whose code goes on when it runs; null for servers and what is under way between machines. */
  readonly owner: Process | null;
  readonly sender: Process | null;
  readonly label: string;
  readonly run: () => void;
  readonly isBlocked: (() => boolean) | undefined;
}

interface Timer {
  readonly dueMs: number;
  readonly owner: Process | null;
  readonly label: string;
  readonly fire: () => void;
  readonly isOff: () => boolean;
}

/** How long an operation that is slow on purpose takes: more than half of Kafka's transaction timeout here. */
const SLOW_MS = 3_000;
/** Of 256 operations, how many are so slow. */
const SLOW = 16;
const TRACE_LENGTH = 100;

export class World {
  nowMs = 0;
  /** The process whose code runs now; null while a server or the scenario acts. */
  current: Process | null = null;
  stepsTaken = 0;
  readonly processes: Process[] = [];
  readonly #tape: Uint8Array;
  readonly #trace: { readonly step: number; readonly nowMs: number; readonly text: string }[] = [];
  #at = 0;
  #random = 1;
  #steps: Step[] = [];
  #timers: Timer[] = [];

  constructor(tape: Uint8Array) {
    this.#tape = tape;
  }

  /** Whether the tape is being read. */
  isArmed = false;

  /** Whether the tape has not begun, or has ended: then nothing goes wrong. */
  get isQuiet(): boolean {
    return !this.isArmed || this.#at >= this.#tape.length;
  }

  /** An integer from 0 to `below` − 1. */
  draw(below: number): number {
    return this.isQuiet ? 0 : this.#tape[this.#at++]! % below;
  }

  /** True `of256` times in 256. */
  chance(of256: number): boolean {
    return !this.isQuiet && this.#tape[this.#at++]! >= 256 - of256;
  }

  /** What stands in for Math.random: two processes that wait must not stay in step. */
  random(): number {
    this.#random = (Math.imul(this.#random, 1_664_525) + 1_013_904_223) >>> 0;
    return this.#random / 2 ** 32;
  }

  note(text: string): void {
    this.#trace.push({ step: this.stepsTaken, nowMs: this.nowMs, text });
  }

  /** What happened before and right after the end of the tape, and at the very end. */
  formatTrace(): string {
    const lines = this.#trace.map(({ step, nowMs, text }) => `${String(step).padStart(5)} ${nowMs}ms ${text}`);
    const turned = lines.findLastIndex((line) => line.includes('==='));
    const end = turned + TRACE_LENGTH / 2;
    const first = lines.slice(Math.max(0, turned - TRACE_LENGTH), end);
    return [...first, '…', ...lines.slice(Math.max(end, lines.length - TRACE_LENGTH / 4))].join('\n');
  }

  enqueue(step: Partial<Step> & Pick<Step, 'label' | 'run'>): void {
    const { owner = null, sender = null, label, run, isBlocked } = step;
    if (owner === null || owner.isAlive) this.#steps.push({ owner, sender, label, run, isBlocked });
  }

  /** A step of a process that may fail before anything happened. `lost` is how it looks to the process. */
  read<T>(label: string, effect: () => T, lost: () => Error, isBlocked?: () => boolean): Promise<T> {
    const owner = this.current;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const run = (): void => {
      try {
        if (this.#operate(owner)) throw this.#failWith(lost());
        resolve(effect());
      } catch (error) {
        reject(error);
      }
    };
    this.enqueue({ owner, label, run, isBlocked });
    return promise;
  }

  /**
   * A request and its answer, two steps. The request may be lost, its answer may be, or it arrives although the process
   * has long given it up or died.
   */
  request<T>(label: string, effect: () => T, lost: () => Error): Promise<T> {
    const from = this.current;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const answer = (run: () => void) => this.enqueue({ owner: from, label: `${label}: answer`, run });
    const giveUp = (what: string) => {
      this.note(`      … ${what}`);
      answer(() => reject(lost()));
    };
    const execute = (hears: boolean): void => {
      try {
        const value = effect();
        if (hears) answer(() => resolve(value));
      } catch (error) {
        if (hears) answer(() => reject(error));
      }
    };
    const run = (): void => {
      const fate = this.#operate(from) ? this.draw(3) : 'answered';
      if (fate !== 0 && fate !== 2) execute(fate === 'answered');
      if (fate === 'answered') return;
      giveUp(['the request is lost', 'its answer is lost', 'given up, and still under way'][fate]!);
      if (fate === 2) this.enqueue({ sender: from, label: `${label}: late`, run: () => execute(false) });
    };
    this.enqueue({ sender: from, label, run });
    return promise;
  }

  /** The end of a connection: it always comes through, if only because the process is gone. */
  close(label: string, effect: () => void): Promise<void> {
    const from = this.current;
    const { promise, resolve } = Promise.withResolvers<void>();
    const run = (): void => {
      effect();
      this.enqueue({ owner: from, label: `${label}: done`, run: resolve });
    };
    this.enqueue({ sender: from, label, run });
    return promise;
  }

  /** Stands in for `setTimeout` of node:timers/promises. */
  delay<T>(ms: number, value?: T, options: { signal?: AbortSignal | undefined } = {}): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const { signal } = options;
    const abort = (): void => reject(Object.assign(new Error('The operation was aborted'), { name: 'AbortError' }));
    if (signal?.aborted) abort();
    else {
      signal?.addEventListener('abort', abort, { once: true });
      this.after(ms, 'timer', () => resolve(value as T), {
        owner: this.current,
        isOff: () => signal?.aborted === true,
      });
    }
    return promise;
  }

  /** A timer; once it `isOff` it is forgotten. */
  after(ms: number, label: string, fire: () => void, options: Partial<Pick<Timer, 'owner' | 'isOff'>> = {}): void {
    const { owner = null, isOff = () => false } = options;
    if (owner === null || owner.isAlive)
      this.#timers.push({ dueMs: this.nowMs + Math.round(ms), owner, label, fire, isOff });
  }

  createProcess(name: string, faults: number): Process {
    const process: Process = { name, faults, isAlive: true, isFrozen: false, onDeath: [] };
    this.processes.push(process);
    return process;
  }

  /** Ends a process between two of its steps. Of what it has sent, the tape chooses what still arrives. */
  kill(process: Process): void {
    process.isAlive = false;
    this.processes.splice(this.processes.indexOf(process), 1);
    this.#steps = this.#steps.filter(
      ({ owner, sender }) => owner !== process && (sender !== process || this.chance(128)),
    );
    this.#timers = this.#timers.filter(({ owner }) => owner !== process);
    for (const notice of process.onDeath.splice(0)) {
      this.enqueue({ label: `a server notices the end of ${process.name}`, run: notice });
    }
  }

  /** Runs the `choice`-th step that can run; false when there is none. */
  step(choice: number): boolean {
    this.#ripen();
    const canRun = ({ owner, isBlocked }: Step) => owner?.isFrozen !== true && isBlocked?.() !== true;
    const runnable = this.isQuiet ? this.#steps.find(canRun) : this.#steps.filter(canRun);
    const step = Array.isArray(runnable) ? runnable[choice % runnable.length] : runnable;
    if (step === undefined) return false;
    this.#steps.splice(this.#steps.indexOf(step), 1);
    this.stepsTaken += 1;
    this.note(`${(step.owner ?? step.sender)?.name ?? 'server'}: ${step.label}`);
    this.current = step.owner;
    step.run();
    return true;
  }

  /** Lets the time pass until the next timer; false when there is none. */
  advance(): boolean {
    let next = Number.POSITIVE_INFINITY;
    for (const { dueMs, owner, isOff } of this.#timers) {
      if (owner?.isFrozen !== true && dueMs < next && !isOff()) next = dueMs;
    }
    if (next === Number.POSITIVE_INFINITY) return false;
    this.nowMs = Math.max(this.nowMs, next);
    return true;
  }

  /** Until all that follows from the last step without another one has happened: the sink itself puts work off once. */
  settle(): Promise<void> {
    return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  }

  #failWith(error: Error): Error {
    this.note('      … it fails');
    return error;
  }

  /** An operation takes its time, or fails: then true. */
  #operate(process: Process | null): boolean {
    const faults = process?.faults ?? 0;
    const luck = 255 - this.draw(256);
    const fails = !this.isQuiet && luck < faults;
    this.nowMs += !this.isQuiet && !fails && luck < faults + SLOW ? SLOW_MS : 1;
    return fails;
  }

  #ripen(): void {
    let isAnyDue = false;
    for (const { dueMs } of this.#timers) isAnyDue ||= dueMs <= this.nowMs;
    if (!isAnyDue) return;
    const due = this.#timers.filter(({ dueMs }) => dueMs <= this.nowMs).sort((a, b) => a.dueMs - b.dueMs);
    this.#timers = this.#timers.filter(({ dueMs }) => dueMs > this.nowMs);
    for (const { owner, label, fire, isOff } of due) if (!isOff()) this.enqueue({ owner, label, run: fire });
  }
}
