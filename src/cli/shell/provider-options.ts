import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import type { ProductPlace } from '../../linalg/index.js';
import {
  EXECUTION_PROVIDERS,
  type ExecutionProvider,
  PROVIDERS,
} from '../../runtime/providers/known-providers.js';
import { DEVICE_OPTION } from '../../runtime/session/options.js';
import { onFile, UsageError } from './errors.js';

export const EP_CHOICES = ['auto', ...EXECUTION_PROVIDERS] as const;
export type EpChoice = (typeof EP_CHOICES)[number];

const TAKE_DEVICE: readonly EpChoice[] = EXECUTION_PROVIDERS.filter((name) => PROVIDERS[name].takesDevice);

/** What a command that runs models takes. */
export const PROVIDER_OPTIONS = {
  ep: {
    kind: 'choices',
    choices: EP_CHOICES,
    default: ['cpu'],
    help: 'execution provider, the preferred one first',
  },
  device: {
    ...DEVICE_OPTION.device,
    help: `${DEVICE_OPTION.device.help}, for ${TAKE_DEVICE.join(', ')}`,
  },
} as const satisfies OptionDescriptors;

export const STRICT_OPTION = {
  strictEp: { kind: 'flag', default: false, help: 'fail if any node falls back to the CPU' },
} as const satisfies OptionDescriptors;

export interface ProviderArguments {
  readonly ep?: EpChoice | readonly EpChoice[] | undefined;
  readonly device?: number | undefined;
}

/** The providers as they were given, or UsageError for a list that makes no sense. */
export function providersOf(args: ProviderArguments): {
  readonly list: readonly EpChoice[] | undefined;
  readonly device: number | undefined;
} {
  const list = args.ep === undefined ? undefined : [args.ep].flat();
  const { device } = args;
  if (device !== undefined && !list?.some((name) => TAKE_DEVICE.includes(name))) {
    const hint = list?.includes('webgpu')
      ? '; on Linux VK_ICD_FILENAMES tells WebGPU which Vulkan driver to take'
      : '';
    throw new UsageError(
      `--device is for --ep ${TAKE_DEVICE.join(', ')}, not for ${list?.join(', ') ?? 'cpu'}${hint}`,
    );
  }
  return { list, device };
}

/** A preference list: 'auto' stands alone and the CPU last. */
export function preference(list: readonly EpChoice[] | undefined): EpChoice | readonly ExecutionProvider[] {
  if (list === undefined) return 'cpu';
  if (list.length === 1) return list[0] ?? 'cpu';
  if (list.includes('auto')) throw new UsageError('--ep auto stands alone: it takes the best that loads');
  if (list.includes('cpu') && list.indexOf('cpu') < list.length - 1) {
    throw new UsageError('--ep cpu comes last: it takes what no other provider can run');
  }
  return list as readonly ExecutionProvider[];
}

/**
 * Where Gram matrices are to run; undefined for the CPU's own kernels.
 *
 * @param list what was asked for
 * @param others what else runs there: where something does, a provider without float64 leaves the products to the CPU
 */
export async function productPlace(
  { list = ['cpu'], device }: ReturnType<typeof providersOf>,
  others: boolean,
): Promise<ProductPlace | undefined> {
  if (list.length === 1 && list[0] === 'cpu') return undefined;
  const { float64Providers } = await import('../../runtime/providers/providers.js');
  const { ModelError } = await import('../../graph/index.js');
  try {
    const providers = float64Providers(preference(list));
    if (providers !== 'auto') return { providers, device };
    const { ProviderError } = await import('../../runtime/providers/provider-failure.js');
    const { gram } = await import('../../linalg/gram.js');
    const place = { providers: ['cuda'] } as const;
    const one = { rows: 32, columns: 32, data: new Float32Array(1024) };
    return await gram(one, 'rows', { place }).then(
      () => place,
      (failure: unknown) => {
        if (failure instanceof ProviderError) return undefined;
        throw failure;
      },
    );
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    if (others) return undefined;
    throw new UsageError(`--ep: ${error.message}`);
  }
}

/** Runs work on a model: an error that does not say its file gets it, unless it is about a provider. */
export async function onModel<T>(file: string, work: () => Promise<T>): Promise<T> {
  const { ProviderError } = await import('../../runtime/providers/provider-failure.js');
  let about: unknown;
  try {
    return await onFile(file, async () => {
      try {
        return await work();
      } catch (error) {
        about = error;
        throw error;
      }
    });
  } catch (error) {
    throw about instanceof ProviderError ? about : error;
  }
}
