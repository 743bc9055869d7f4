/**
 * Work on one input after the other in a process of its own, so that an input that ends the process, hangs or takes too
 * much memory is an outcome like any other. The process is the same script, started with `--child`.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { processorSeconds } from './process.js';

export interface WorkerLimits {
  /**
   * Of the processor, all threads together, within one step (see atStep), or sixty times as many by the clock within all: a busy machine
   * makes nothing a finding.
   */
  readonly seconds: number;
  /** Resident memory, in MB. */
  readonly mb: number;
}

/** What ended the work on an input: a limit, or the process itself. */
export type Failure = 'late' | 'memory' | 'died';

export class Worker<Job extends string | object, Outcome extends object> {
  readonly #script: string;
  readonly #limits: WorkerLimits;
  readonly #failed: (failure: Failure, detail: string, step: string) => Outcome;
  #child: ChildProcess | undefined;

  /**
   * @param script path of the script that is started
   * @param failed what the outcome is where the process gives none; `step` is what it said last with atStep
   */
  constructor(
    script: string,
    limits: WorkerLimits,
    failed: (failure: Failure, detail: string, step: string) => Outcome,
  ) {
    this.#script = script;
    this.#limits = limits;
    this.#failed = failed;
  }

  async run(job: Job): Promise<Outcome> {
    const child = this.#child ?? (await this.#start());
    this.#child = child;
    let [said, step] = ['', ''];
    const hear = (data: Buffer): void => {
      said = (said + data.toString()).slice(-2000);
    };
    child.stderr?.on('data', hear);
    return new Promise<Outcome>((resolve) => {
      const { seconds, mb: most } = this.#limits;
      const fail = (failure: Failure, detail: string): void => {
        done();
        this.#child = undefined;
        child.kill('SIGKILL');
        resolve(this.#failed(failure, detail, step));
      };
      let spent = processorSeconds(child.pid);
      const late = setTimeout(() => fail('late', `not done after ${60 * seconds} s`), 60 * seconds * 1000);
      const watch = setInterval(() => {
        if (processorSeconds(child.pid) - spent > seconds) {
          fail('late', `not done after ${seconds} s of the processor`);
          return;
        }
        const mb = memoryOf(child.pid);
        if (mb > most) fail('memory', `takes ${mb.toFixed(0)} MB of memory`);
      }, 100);
      const done = (): void => {
        clearTimeout(late);
        clearInterval(watch);
        child.stderr?.off('data', hear);
        child.removeAllListeners('message');
        child.removeAllListeners('exit');
      };
      child.on('message', (message) => {
        if (typeof message === 'string') {
          step = message;
          spent = processorSeconds(child.pid);
        } else {
          done();
          resolve(message as Outcome);
        }
      });
      child.once('exit', (code, signal) => {
        const words = said.trim().split('\n').slice(-3).join(' ');
        fail('died', `the process ended by ${signal ?? `code ${code}`}: ${words}`);
      });
      child.send(job);
    });
  }

  end(): void {
    this.#child?.kill();
    this.#child = undefined;
  }

  /** Its first message says that it listens: the time to start is not the input's. */
  #start(): Promise<ChildProcess> {
    const child = fork(this.#script, ['--child'], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    return new Promise((resolve, reject) => {
      child.once('message', () => {
        child.removeAllListeners('exit');
        resolve(child);
      });
      child.once('exit', (code) => reject(new Error(`${this.#script} --child ended by code ${code}`)));
    });
  }
}

/** The work of the process, where this script is one; false where it is not. */
export function isWorker<Job, Outcome>(work: (job: Job) => Promise<Outcome>): boolean {
  if (!process.argv.includes('--child')) return false;
  process.on('message', (job: Job) => {
    void work(job).then((outcome) => process.send?.(outcome));
  });
  process.send?.('ready');
  return true;
}

/** Tells, within the process, what is done now. */
export function atStep(step: string): void {
  process.send?.(step);
}

/** Resident, in MB; 0 where the system does not tell. */
function memoryOf(pid: number | undefined): number {
  try {
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
    return (pages * 4096) / 2 ** 20;
  } catch {
    return 0;
  }
}
