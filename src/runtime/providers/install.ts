import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ModelError } from '../../graph/index.js';
import { installation } from '../session/onnxruntime.js';

/** Bytes that the download of CUDA's provider takes, roughly. Unpacked, its libraries take more. */
export const CUDA_DOWNLOAD = 300e6;
/** Where it comes from. */
export const CUDA_SOURCE = 'https://api.nuget.org (Microsoft.ML.OnnxRuntime.Gpu.Linux)';

const LIBRARIES = [
  'libonnxruntime_providers_shared.so',
  'libonnxruntime_providers_cuda.so',
  'libonnxruntime_providers_tensorrt.so',
];

/** Where CUDA's provider goes, and whether all of it is there. */
export function cudaInstallation(): { readonly directory: string; readonly isInstalled: boolean } {
  const { libraries } = installation();
  return {
    directory: libraries,
    isInstalled: LIBRARIES.every((name) => existsSync(join(libraries, name))),
  };
}

/**
 * Fetches the providers of CUDA and TensorRT by onnxruntime-node's own installer, which puts them beside its other
 * libraries. It replaces what is there.
 *
 * @param onLine called with each line that the installer prints
 * @throws ModelError on a platform that has none, and where the download fails
 * @example
 * await installCuda((line) => console.error(line));
 */
export async function installCuda(onLine: (line: string) => void = () => undefined): Promise<string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new ModelError(
      `CUDA's provider exists for Linux on x64 alone, not for ${process.platform}-${process.arch}`,
    );
  }
  const { installer } = installation();
  const errors: string[] = [];
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn(process.execPath, [installer, '--onnxruntime-node-install'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Set by 'onnxruntime-node-install=skip' in an .npmrc when npm started us; asking for it says otherwise.
      env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'true' },
    });
    child.stdout.on('data', (chunk: Buffer) => {
      for (const line of chunk.toString().trim().split('\n')) onLine(line);
    });
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk.toString()));
    child.on('error', reject);
    child.on('close', resolve);
  });
  const { directory, isInstalled } = cudaInstallation();
  if (code === 0 && isInstalled) return directory;
  throw new ModelError(`the download from ${CUDA_SOURCE} failed: ${causeOf(errors.join(''), code)}`);
}

/** What a stack trace on stderr is about. */
export function causeOf(stderr: string, code: number | null): string {
  const [, what] = /^\s*(?:\[?(?:\w*Error)(?: \[\w+\])?): (.+)$/m.exec(stderr) ?? [];
  return what?.trim() ?? `its installer ended with code ${code}`;
}
