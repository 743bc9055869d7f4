import { spawn } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { onnxruntime, onnxruntimePlace } from '../session/onnxruntime.js';
import { type Gpu, nvidiaGpus } from './nvidia-smi.js';
import type { Proof } from './proof.js';
import { notOnThisPlatform, type ProviderFailure, vulkanDrivers } from './provider-failure.js';
import { EXECUTION_PROVIDERS, type ExecutionProvider } from './providers.js';

/** Whether a provider loads here. */
export interface ProviderDiagnosis {
  readonly provider: ExecutionProvider;
  readonly loads: boolean;
  /** Why it does not, and what mends it. */
  readonly failure: ProviderFailure | undefined;
  /** The product that it did. */
  readonly proof: Proof | undefined;
  /** What its libraries wrote while they loaded. */
  readonly log: string;
}

/** What onnxruntime can run on here. */
export interface Diagnosis {
  readonly versions: { readonly node: string; readonly onnxruntime: string };
  /** As Node names it: linux-x64. */
  readonly platform: string;
  readonly cpu: { readonly model: string; readonly cores: number };
  /** Bytes. */
  readonly memory: number;
  readonly gpus: readonly Gpu[];
  /** Manifests of the Vulkan drivers that are registered; empty where Vulkan is not the way to the GPU. */
  readonly vulkanDrivers: readonly string[];
  readonly providers: readonly ProviderDiagnosis[];
}

/** Options of diagnose. */
export interface DiagnoseOptions {
  /** Which to look at; default all. */
  readonly providers?: readonly ExecutionProvider[] | undefined;
  readonly device?: number | undefined;
  /** Between two providers, it ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { done: number; total: number; what: string }) => void) | undefined;
}

/**
 * Tells of each provider whether it loads on this machine and why not, and has it do one matrix product. Each is tried
 * in a process of its own, so that one that crashes takes nothing with it.
 *
 * @throws ModelError where onnxruntime-node itself does not load
 * @example
 * const { providers } = await diagnose();
 * for (const { provider, loads, failure } of providers) console.log(provider, loads || failure?.reason);
 */
export async function diagnose(options: DiagnoseOptions = {}): Promise<Diagnosis> {
  const { providers: wanted = EXECUTION_PROVIDERS, device, onProgress } = options;
  const ort = await onnxruntime();
  const providers: ProviderDiagnosis[] = [];
  for (const [done, provider] of wanted.entries()) {
    options.signal?.throwIfAborted();
    onProgress?.({ done, total: wanted.length, what: provider });
    providers.push(await diagnoseOne(provider, device));
  }
  const [first] = cpus();
  return {
    versions: { node: process.versions.node, onnxruntime: ort.env.versions.node ?? ort.env.versions.common },
    platform: `${process.platform}-${process.arch}`,
    cpu: { model: first?.model.trim() ?? 'unknown', cores: cpus().length },
    memory: totalmem(),
    gpus: await nvidiaGpus(),
    vulkanDrivers: process.platform === 'linux' ? vulkanDrivers().files : [],
    providers,
  };
}

async function diagnoseOne(
  provider: ExecutionProvider,
  device: number | undefined,
): Promise<ProviderDiagnosis> {
  const failure = await notOnThisPlatform(provider);
  if (failure !== undefined) return { provider, loads: false, failure, proof: undefined, log: '' };
  const takesDevice = device !== undefined && provider !== 'cpu' && provider !== 'webgpu';
  const { stdout, stderr, ended } = await probe([provider, ...(takesDevice ? [String(device)] : [])]);
  const log = stderr.trim();
  const answer = answerOf(stdout);
  if (answer === undefined) {
    const reason = `a process that tried it ended with ${ended}`;
    const text = log.split('\n').at(-1);
    const said = { provider, reason: text ? `${reason}: ${text}` : reason, fix: undefined };
    return { provider, loads: false, failure: said, proof: undefined, log };
  }
  const { proof } = answer;
  return { provider, loads: proof !== undefined, failure: answer.failure, proof, log };
}

interface Answer {
  readonly proof?: Proof;
  readonly failure: ProviderFailure | undefined;
}

function answerOf(stdout: string): Answer | undefined {
  const line = stdout.split('\n').findLast((text) => text.startsWith('{'));
  try {
    return line === undefined ? undefined : (JSON.parse(line) as Answer);
  } catch {
    return undefined;
  }
}

/** Milliseconds after which a provider is given up; a driver that renders in software compiles slowly. */
const PATIENCE = 120_000;

async function probe(args: readonly string[]): Promise<{ stdout: string; stderr: string; ended: string }> {
  const { PROBE_SCRIPT } = await import('./probe-script.js');
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['-', onnxruntimePlace(), ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: PATIENCE,
    });
    let [stdout, stderr] = ['', ''];
    // A process that ended before it read all of it says so by its code.
    child.stdin.on('error', () => undefined);
    child.stdin.end(PROBE_SCRIPT);
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('error', (error) => resolve({ stdout, stderr, ended: error.message }));
    child.on('close', (code, signal) =>
      resolve({ stdout, stderr, ended: signal === null ? `code ${code}` : signal }),
    );
  });
}
