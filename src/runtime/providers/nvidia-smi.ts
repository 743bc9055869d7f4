import { execFile } from 'node:child_process';

/** A GPU that NVIDIA's driver shows. */
export interface Gpu {
  readonly name: string;
  readonly driver: string;
  /** Bytes. */
  readonly memory: number | undefined;
}

/** The GPUs that nvidia-smi lists; none where there is no such program. */
export async function nvidiaGpus(): Promise<Gpu[]> {
  return parseGpus(await nvidiaSmi('name,driver_version,memory.total'));
}

/**
 * Bytes in use on a GPU, by all processes: WebGPU's memory is not told by process.
 *
 * @returns undefined where nvidia-smi does not tell
 */
export async function usedGpuMemory(device = 0): Promise<number | undefined> {
  return parseMemory(await nvidiaSmi('memory.used', device));
}

/** A line of MiB. */
export function parseMemory(csv: string): number | undefined {
  const text = csv.trim().split('\n')[0] ?? '';
  return /^\d+$/.test(text) ? Number(text) * 2 ** 20 : undefined;
}

/** What nvidia-smi prints; nothing where there is no such program or it fails. */
function nvidiaSmi(fields: string, device?: number): Promise<string> {
  const query = [`--query-gpu=${fields}`, '--format=csv,noheader,nounits'];
  if (device !== undefined) query.push(`--id=${device}`);
  return new Promise((resolve) => {
    execFile('nvidia-smi', query, { timeout: 10_000 }, (error, stdout) =>
      resolve(error === null ? stdout : ''),
    );
  });
}

/** Lines of `name, driver, MiB`. */
export function parseGpus(csv: string): Gpu[] {
  return csv
    .trim()
    .split('\n')
    .filter((line) => line.includes(','))
    .map((line) => {
      const parts = line.split(',').map((part) => part.trim());
      const mebibytes = Number(parts.pop());
      const driver = parts.pop() ?? '';
      return {
        name: parts.join(', '),
        driver,
        memory: Number.isFinite(mebibytes) ? mebibytes * 2 ** 20 : undefined,
      };
    });
}
