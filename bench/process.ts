/** Whole processes, timed, with their peak memory; and where the peers and models of the benchmarks come from. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
export const CLI = join(ROOT, 'dist/bin/onnx-overparam.js');
export const SCRIPTS = join(ROOT, 'bench/python');
export const WORK = join(ROOT, '.bench');

export interface Run {
  readonly seconds: number;
  /** Peak resident memory. */
  readonly megabytes: number;
  readonly stdout: string;
  /** Of all threads; what a busy machine changes least. */
  readonly cpuSeconds: number;
}

/** Clock ticks a second in /proc. */
const TICKS = 100;

/** What a process took of the processor, all threads together; 0 where the system does not tell. */
export function processorSeconds(pid: number | undefined): number {
  try {
    // The fields after the name, which may have spaces: state is the first, utime and stime are 12 and 13.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return (Number(stat[11]) + Number(stat[12])) / TICKS || 0;
  } catch {
    return 0;
  }
}

/** Runs a command; the peak memory is the kernel's own high-water mark, read while the process lives. */
export function run(command: string, args: readonly string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let [megabytes, cpuSeconds] = [0, 0];
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    const timer = setInterval(() => {
      try {
        const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
        megabytes = Math.max(megabytes, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1000);
      } catch {
        // Not Linux, or over already.
      }
      cpuSeconds = Math.max(cpuSeconds, processorSeconds(child.pid));
    }, 20);
    child.on('error', reject);
    child.on('close', (code) => {
      clearInterval(timer);
      if (code === 0)
        resolve({ seconds: (performance.now() - started) / 1000, megabytes, stdout, cpuSeconds });
      else reject(new Error(`${command} ${args.join(' ')} ended with ${code}`));
    });
  });
}

/** A Python that has the given modules; undefined where none is installed. */
export function findPython(modules = 'numpy, onnx'): string | undefined {
  return ['/usr/bin/python3', 'python3'].find(
    (command) => spawnSync(command, ['-c', `import ${modules}`], { stdio: 'ignore' }).status === 0,
  );
}

/** Lets bench/python/export_zoo.py make the models that are not there yet: <name><suffix>.onnx. */
export function exportModels(
  python: string | undefined,
  directory: string,
  names: readonly string[],
  { suffix = '', flags = [] }: { suffix?: string; flags?: readonly string[] } = {},
): void {
  mkdirSync(WORK, { recursive: true });
  const missing = names.filter((name) => !existsSync(join(directory, `${name}${suffix}.onnx`)));
  if (missing.length === 0 || python === undefined) return;
  mkdirSync(directory, { recursive: true });
  // What it prints is no part of a bench's table.
  spawnSync(python, [join(SCRIPTS, 'export_zoo.py'), directory, '--only', ...missing, ...flags], {
    stdio: ['ignore', 2, 2],
  });
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}
