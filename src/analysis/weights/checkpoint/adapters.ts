import type { Checkpoint, Config, StoredTensor } from '../../../runtime/checkpoint/index.js';
import type { StoredUse, WeightUser } from '../types.js';
import type { Overlooked } from '../weights.js';
import { sizeOf, storedElements } from './stored-data.js';

/** The two factors of a module's LoRA adapter (Hu et al. 2021, arXiv 2106.09685): its change is scale * B A. */
export interface Adapter {
  /** As the base model calls its module. */
  readonly module: string;
  /** rank x inputs, or its transpose. */
  readonly a: StoredTensor;
  /** outputs x rank, or its transpose. */
  readonly b: StoredTensor;
  readonly rank: number;
  readonly scale: number;
  readonly outputs: number;
  readonly inputs: number;
  /** True where a is inputs x rank and b rank x outputs, as ONNX's MatMul wants them. */
  readonly isTransposed: boolean;
}

const FACTOR =
  /^(?:base_model\.model\.)?(?<module>.*?)[./]lora_(?:embedding_)?(?<factor>[AB])(?:\.(?!weight$)[\w-]+)?(?:\.weight)?$/;

/**
 * The adapters of a checkpoint; what of it are none is left over.
 *
 * With PEFT's adapter_config.json: scale lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora, and r and lora_alpha of single modules
 * by rank_pattern and alpha_pattern. Without it the scale is 1.
 */
export function findAdapters(checkpoint: Checkpoint): {
  readonly adapters: readonly Adapter[];
  readonly rest: readonly StoredTensor[];
  readonly others: readonly Overlooked<WeightUser>[];
} {
  const pairs = new Map<string, Partial<Record<'A' | 'B', StoredTensor>>>();
  const rest: StoredTensor[] = [];
  for (const tensor of checkpoint.tensors.values()) {
    const { module, factor } = FACTOR.exec(tensor.name)?.groups ?? {};
    if (module === undefined) rest.push(tensor);
    else pairs.set(module, { ...pairs.get(module), [factor as 'A' | 'B']: tensor });
  }
  const adapters: Adapter[] = [];
  const others: Overlooked<WeightUser>[] = [];
  for (const [module, { A: a, B: b }] of pairs) {
    const found = adapterOf(module, a, b, checkpoint);
    if ('reason' in found) others.push({ node: { label: module, opType: 'LoRA' }, reason: found.reason });
    else adapters.push(found);
  }
  return { adapters, rest, others };
}

function adapterOf(
  module: string,
  a: StoredTensor | undefined,
  b: StoredTensor | undefined,
  { adapter: config, format }: Checkpoint,
): Adapter | { readonly reason: string } {
  if (a === undefined || b === undefined) return { reason: `its lora_${a ? 'B' : 'A'} is missing` };
  const [first = 0, last = 0] = [a.shape[0], sizeOf(a) / (a.shape[0] || 1)];
  const [top = 0, bottom = 0] = [b.shape[0], sizeOf(b) / (b.shape[0] || 1)];
  const isPeft = first === bottom;
  const isOnnx = last === top && a.shape.length === 2;
  if (!isPeft && !isOnnx) {
    return {
      reason: `its factors [${a.shape.join(', ')}] and [${b.shape.join(', ')}] have no rank in common`,
    };
  }
  const isTransposed = !isPeft || (isOnnx && format === 'onnx_adapter');
  const [rank, inputs, outputs] = isTransposed ? [last, first, bottom] : [first, last, top];
  return { module, a, b, rank, scale: scaleOf(module, rank, config), outputs, inputs, isTransposed };
}

function scaleOf(module: string, rank: number, config: Config | undefined): number {
  if (config === undefined) return 1;
  const alpha = ofPattern(config.alpha_pattern, module) ?? Number(config.lora_alpha ?? rank);
  return alpha / (config.use_rslora === true ? Math.sqrt(rank) : rank);
}

/** PEFT matches the end of a module's name. */
function ofPattern(patterns: unknown, module: string): number | undefined {
  if (typeof patterns !== 'object' || patterns === null) return undefined;
  const found = Object.entries(patterns).find(
    ([pattern]) => module === pattern || module.endsWith(`.${pattern.replace(/^\^/, '')}`),
  );
  return found === undefined ? undefined : Number(found[1]);
}

/** What an adapter adds to its weight, by its factors. */
export function adapterUse(adapter: Adapter): StoredUse {
  const { module, a, b, scale, rank, outputs, inputs, isTransposed } = adapter;
  const name = `${module}.weight`;
  const read = async (tensor: StoredTensor, factor: number): Promise<Float32Array | Float64Array> => {
    const data = await storedElements(tensor);
    return factor === 1 ? data : Float64Array.from(data, (value) => value * factor);
  };
  return {
    node: { label: module, opType: 'LoRA' },
    op: 'LoRA',
    name,
    rows: outputs,
    columns: inputs,
    shape: [outputs, inputs],
    data: {
      name,
      shape: [outputs, inputs],
      dataType: b.dataType,
      owner: b.owner,
      key: `${b.key} ${a.key}`,
      isTransposed: false,
      // For the count of elements that are not finite, which the factors have.
      read: async () => ({ data: await storedElements(b), isOwn: false }),
      factors: async () => [
        isTransposed
          ? { matrix: { rows: rank, columns: outputs, data: await read(b, scale) }, inner: 'rows' }
          : { matrix: { rows: outputs, columns: rank, data: await read(b, scale) }, inner: 'columns' },
        isTransposed
          ? { matrix: { rows: inputs, columns: rank, data: await read(a, 1) }, inner: 'columns' }
          : { matrix: { rows: rank, columns: inputs, data: await read(a, 1) }, inner: 'rows' },
      ],
    },
  };
}
