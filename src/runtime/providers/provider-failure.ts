import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ModelError, messageOf } from '../../graph/index.js';
import { installation, onnxruntime, readable } from '../session/onnxruntime.js';
import { neededLibraries } from './elf.js';
import { type ExecutionProvider, PROVIDERS } from './providers.js';

/** Why a provider does not load here, and what mends it. */
export interface ProviderFailure {
  readonly provider: ExecutionProvider;
  /** What is missing: a library by its name, a driver. */
  readonly reason: string;
  /** The command or step that mends it, where there is one. */
  readonly fix: string | undefined;
}

/** A provider that was asked for does not load. */
export class ProviderError extends ModelError {
  override readonly code = 'ERR_PROVIDER';
  readonly failure: ProviderFailure;

  constructor(failure: ProviderFailure, options?: ErrorOptions) {
    const { provider, reason, fix } = failure;
    super(`${PROVIDERS[provider].title} does not load: ${reason}${fix ? `\n${fix}` : ''}`, {}, options);
    this.failure = failure;
  }
}

/** The provider is not in this platform's onnxruntime-node; undefined where it is. */
export async function notOnThisPlatform(provider: ExecutionProvider): Promise<ProviderFailure | undefined> {
  const { listSupportedBackends } = await onnxruntime();
  const names = listSupportedBackends().map(({ name }) => name);
  const { native, platforms } = PROVIDERS[provider];
  if (names.includes(native)) return undefined;
  return {
    provider,
    reason: `onnxruntime-node has it on ${platforms}, not on ${process.platform}-${process.arch}`,
    fix: `Here it has ${names.map(ours).join(', ')}; \`providers: 'auto'\` takes what loads.`,
  };
}

function ours(native: string): string {
  return Object.entries(PROVIDERS).find(([, info]) => info.native === native)?.[0] ?? native;
}

/**
 * What an error of onnxruntime says about a provider, or undefined for one that is about something else (the model).
 *
 * @param message as onnxruntime gives it
 */
export async function explainFailure(
  providers: readonly ExecutionProvider[],
  message: string,
  options: { readonly libraries?: string; readonly device?: number | undefined } = {},
): Promise<ProviderFailure | undefined> {
  const { libraries = installation().libraries, device = 0 } = options;
  const [, native] = /^OrtSessionOptionsAppendExecutionProvider_(\w+): /.exec(message) ?? [];
  if (native !== undefined) {
    const provider = providers.find((name) => PROVIDERS[name].native === native.toLowerCase());
    if (provider === 'cuda' || provider === 'tensorrt') return explainLibrary(provider, libraries);
    if (provider !== undefined) return { provider, reason: readable(message), fix: undefined };
  }
  if (providers.includes('webgpu') && /WebGPU (?:adapter|device)/.test(message))
    return explainWebGpu(message);
  const cuda = providers.find((name) => name === 'cuda' || name === 'tensorrt');
  if (cuda !== undefined) return explainCudaCall(cuda, message, device);
  return undefined;
}

/** Does the loader find a library, where it looks by itself? Not by a search of our own, which would miss its rules. */
function loaderFinds(library: string): boolean {
  try {
    process.dlopen({ exports: {} }, library);
    return true;
  } catch (error) {
    // Found and loaded, but no module of Node's, of course.
    return /did not self-register|Module did not|napi_register_module/.test(messageOf(error));
  }
}

const DRIVER = 'libcuda.so.1';
const INSTALL_CUDA =
  "Install NVIDIA's CUDA 12 and cuDNN 9 libraries (sudo apt-get install cuda-libraries-12-9 cudnn9-cuda-12, from NVIDIA's repository), or add the folder that has them to LD_LIBRARY_PATH.";
const INSTALL_TENSORRT =
  "Install TensorRT 10 for CUDA 12 (sudo apt-get install libnvinfer10 libnvonnxparsers10, from NVIDIA's repository), or use `providers: ['cuda']`.";

/** Why the library of CUDA's or TensorRT's provider does not load: onnxruntime-node only says that it does not. */
async function explainLibrary(provider: 'cuda' | 'tensorrt', directory: string): Promise<ProviderFailure> {
  const names = ['libonnxruntime_providers_shared.so', `libonnxruntime_providers_${provider}.so`];
  const absent = names.filter((name) => !existsSync(join(directory, name)));
  if (absent.length > 0) {
    return {
      provider,
      reason: `${absent.join(' and ')} ${absent.length > 1 ? 'are' : 'is'} not installed in ${directory}`,
      fix: 'Install with: onnx-overparam doctor --install cuda',
    };
  }
  const missing: string[] = [];
  for (const name of names) {
    let needed: string[] | undefined;
    try {
      needed = await neededLibraries(join(directory, name));
    } catch (error) {
      return { provider, reason: `${name} cannot be read: ${messageOf(error)}`, fix: undefined };
    }
    if (needed === undefined) {
      return {
        provider,
        reason: `${join(directory, name)} is no library; its download was cut short`,
        fix: 'Install it again with: onnx-overparam doctor --install cuda --yes',
      };
    }
    missing.push(
      ...needed.filter((library) => !existsSync(join(directory, library)) && !loaderFinds(library)),
    );
  }
  if (missing.length > 0) {
    const isDriver = missing.includes(DRIVER) || !loaderFinds(DRIVER);
    const driver = isDriver ? `, nor the NVIDIA driver (${DRIVER})` : '';
    const onlyTensorRt = missing.every((name) => /^libnv(?:infer|onnx)/.test(name));
    const list = [...new Set(missing)].filter((name) => name !== DRIVER);
    return {
      provider,
      reason: `${list.join(', ') || DRIVER} not found${list.length > 0 ? driver : ''}; looked in ${whereLoaderLooks()}`,
      fix: onlyTensorRt ? INSTALL_TENSORRT : INSTALL_CUDA,
    };
  }
  if (!loaderFinds(DRIVER)) return { provider, ...NO_DRIVER };
  return {
    provider,
    reason: `${basename(names[1] ?? '')} and what it needs are there, but it does not load`,
    fix: `See what the loader says: LD_DEBUG=libs,files onnx-overparam doctor --ep ${provider}`,
  };
}

const NO_DRIVER = {
  reason: `the NVIDIA driver is missing: the loader does not find ${DRIVER}`,
  fix: 'Install the driver of your GPU (Debian: sudo apt-get install nvidia-driver; Ubuntu: sudo ubuntu-drivers install); start a container with --gpus all.',
} as const;

function whereLoaderLooks(): string {
  const path = process.env.LD_LIBRARY_PATH;
  return `LD_LIBRARY_PATH (${path ? path : 'not set'}) and the folders of ldconfig`;
}

/** Errors of CUDA itself: `CUDA failure 100: no CUDA-capable device is detected ; GPU=… ; hostname=… ; …`. */
function explainCudaCall(
  provider: ExecutionProvider,
  message: string,
  device: number,
): ProviderFailure | undefined {
  const [, library, code, text = ''] = /\b(CUDA|CUDNN|CUBLAS) failure (\d+): ([^;]*)/.exec(message) ?? [];
  if (library === undefined) {
    const [, unloadable] = /(lib(?:cudnn|cublas|nv|cu)\w*\.so[.\d]*)/.exec(message) ?? [];
    if (unloadable === undefined || !/load|open|not found/i.test(message)) return undefined;
    return { provider, reason: `${unloadable} does not load: ${readable(message)}`, fix: INSTALL_CUDA };
  }
  const reason = `${library} says '${text.trim()}' (${code})`;
  if (library !== 'CUDA') return { provider, reason, fix: INSTALL_CUDA };
  switch (code) {
    case '35':
      return {
        provider,
        reason: `${reason}: the NVIDIA driver is older than CUDA 12 wants, or not there`,
        fix: 'Install driver 525 or later (nvidia-smi prints the one that runs).',
      };
    case '100':
      return {
        provider,
        reason: `${reason}: the driver shows no GPU`,
        fix: 'See nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, start it with --gpus all.',
      };
    case '101':
      return {
        provider,
        reason: `there is no GPU ${device}`,
        fix: 'nvidia-smi -L lists those that are there.',
      };
    case '2':
      return {
        provider,
        reason: 'the GPU is out of memory',
        fix: 'A smaller `batch` takes less; nvidia-smi shows who holds the rest.',
      };
    default:
      return { provider, reason, fix: undefined };
  }
}

/** The folders in which Vulkan's loader looks for drivers. */
const ICD_FOLDERS = ['/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/usr/share/vulkan/icd.d'];

/** The Vulkan drivers that are registered here: paths of their manifests. */
export function vulkanDrivers(): { readonly files: readonly string[]; readonly from: string } {
  for (const variable of ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES']) {
    const value = process.env[variable];
    if (value) return { files: value.split(':').filter(existsSync), from: `${variable} (${value})` };
  }
  const files = ICD_FOLDERS.flatMap((folder) => {
    try {
      return readdirSync(folder)
        .filter((name) => name.endsWith('.json'))
        .map((name) => join(folder, name));
    } catch {
      return [];
    }
  });
  return { files, from: ICD_FOLDERS.join(', ') };
}

const GET_VULKAN =
  "Install the driver of your GPU (NVIDIA's own, or for AMD and Intel: sudo apt-get install mesa-vulkan-drivers). To try it without a GPU: see docs/gpu.md.";

function explainWebGpu(message: string): ProviderFailure {
  const provider = 'webgpu';
  const said =
    /Failed to get a WebGPU (?:adapter|device): (.*)/.exec(message)?.[1]?.trim() ?? readable(message);
  if (process.platform !== 'linux') return { provider, reason: `no adapter: ${said}`, fix: undefined };
  if (!loaderFinds('libvulkan.so.1')) {
    return {
      provider,
      reason: 'no Vulkan adapter: the Vulkan loader is missing (libvulkan.so.1)',
      fix: 'Install it with: sudo apt-get install libvulkan1',
    };
  }
  const { files, from } = vulkanDrivers();
  if (files.length === 0) {
    return { provider, reason: `no Vulkan adapter: no driver is registered in ${from}`, fix: GET_VULKAN };
  }
  const names = files.map((file) => basename(file, '.json')).join(', ');
  return {
    provider,
    reason: `no Vulkan adapter: the drivers here (${names}) offer none that it takes (no GPU, or a driver too old)`,
    fix: GET_VULKAN,
  };
}
