import { existsSync, readdirSync } from 'node:fs';
import { ModelError } from '../../graph/index.js';
import { checkOptions } from '../../graph/option-descriptors.js';
import { DEVICE_OPTION } from '../session/options.js';
import { EXECUTION_PROVIDERS, type ExecutionProvider, PROVIDERS } from './known-providers.js';

export { EXECUTION_PROVIDERS, type ExecutionProvider, PROVIDERS };

/** The provider that the profile names so; as it is where it is none of ours. */
export function providerOf(profiled: string): ExecutionProvider | string {
  return EXECUTION_PROVIDERS.find((name) => PROVIDERS[name].profiled === profiled) ?? profiled;
}

/** What is asked for: one provider, several in the order of preference, or whatever loads. */
export type ProviderChoice = ExecutionProvider | 'auto' | readonly (ExecutionProvider | 'auto')[];

/**
 * The lists of providers to try, one after the other until one loads: a single one, unless 'auto' was asked for.
 *
 * @throws OptionError for a device that is no whole number of at least 0; ModelError for a list that onnxruntime would not follow
 */
export function candidates(
  choice: ProviderChoice,
  options: { readonly device?: number | undefined; readonly strict?: boolean | undefined },
): readonly (readonly ExecutionProvider[])[] {
  const list = [...new Set([choice].flat())];
  const { device } = checkOptions(DEVICE_OPTION, options);
  const { strict } = options;
  if (list.length === 0) throw new ModelError('no execution provider is named');
  for (const name of list) {
    if (name !== 'auto' && !EXECUTION_PROVIDERS.includes(name)) {
      throw new ModelError(
        `there is no execution provider '${name}'; there are auto, ${EXECUTION_PROVIDERS.join(', ')}`,
      );
    }
  }
  if (list.includes('auto')) {
    if (list.length > 1) {
      throw new ModelError("'auto' takes what loads, so it stands alone; name the other providers or it");
    }
    if (device !== undefined) throw new ModelError("'auto' takes no device; name the provider");
    return strict ? automatic().slice(0, -1) : automatic();
  }
  const named = list as ExecutionProvider[];
  const cpu = named.indexOf('cpu');
  if (cpu >= 0 && cpu < named.length - 1) {
    throw new ModelError(
      "'cpu' comes last: onnxruntime gives it only what no other provider takes, wherever it stands",
    );
  }
  if (strict && cpu >= 0) {
    throw new ModelError('nothing may fall to the CPU, yet the CPU is among the providers asked for');
  }
  if (device !== undefined && !named.some((name) => PROVIDERS[name].takesDevice)) {
    const hint = named.includes('webgpu')
      ? '; on Linux VK_ICD_FILENAMES tells WebGPU which Vulkan driver to take'
      : '';
    throw new ModelError(`${named.join(', ')} cannot be told a device${hint}`);
  }
  return [named];
}

/**
 * The providers of a GPU on this platform, best first, and the CPU. TensorRT is not among them: it compiles a model for
 * minutes before it runs it. Nor is WebGPU on a Linux machine without a GPU: the Vulkan driver that renders in software
 * (lavapipe, SwiftShader) is some ten times slower than the CPU provider.
 */
function automatic(): ExecutionProvider[][] {
  switch (process.platform) {
    case 'darwin':
      return [['coreml'], ['webgpu'], ['cpu']];
    case 'win32':
      return [['directml'], ['webgpu'], ['cpu']];
    default:
      return [['cuda'], ...(hasGpuDevice() ? [['webgpu'] as ExecutionProvider[]] : []), ['cpu']];
  }
}

/** Whether Linux shows a GPU: a render node, an NVIDIA device, or WSL's. */
function hasGpuDevice(): boolean {
  if (existsSync('/dev/nvidia0') || existsSync('/dev/dxg')) return true;
  try {
    return readdirSync('/dev/dri').some((name) => name.startsWith('renderD'));
  } catch {
    return false;
  }
}

/** Where float64 products are to run, checked: each provider must have them; 'auto' is left to whoever opens it. */
export function float64Providers(choice: ProviderChoice): readonly ExecutionProvider[] | 'auto' {
  const list = [choice].flat();
  if (list.includes('auto')) return 'auto';
  const lacking = (list as ExecutionProvider[]).filter((name) => !PROVIDERS[name].hasFloat64);
  if (lacking.length === 0) return list as ExecutionProvider[];
  const titles = lacking.map((name) => PROVIDERS[name].title).join(' and ');
  throw new ModelError(
    `${titles} multiplies no float64 matrices, and float32 is too coarse for products (of a Gram matrix, some 3 % of the effective rank); CUDA and the CPU do`,
  );
}

/** The list as onnxruntime-node takes it. */
export function nativeProviders(
  list: readonly ExecutionProvider[],
  device: number | undefined,
): (string | { name: string; deviceId: number })[] {
  return list.map((name) => {
    const { native, takesDevice } = PROVIDERS[name];
    return device !== undefined && takesDevice ? { name: native, deviceId: device } : native;
  });
}
