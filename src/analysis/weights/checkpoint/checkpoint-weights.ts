import { DATA_TYPES, type DataType } from '../../../graph/index.js';
import type { Checkpoint, StoredTensor } from '../../../runtime/checkpoint/index.js';
import type { StoredUse, WeightUser } from '../types.js';
import type { WeightData } from '../weight-data.js';
import { merged, type Overlooked, type WeightMatrix } from '../weights.js';
import { adapterUse, findAdapters } from './adapters.js';
import { type ModuleTensors, microscaled, quantizedModule } from './quantized.js';
import { sizeOf, storedData } from './stored-data.js';

const EMBEDDING = /(^|[._])(embed\w*|wte|wpe|tok_embeddings|shared|relative_attention_bias)$/;
const EXPERTS = /(^|\.)experts(\.|$)/;
/** Constants that checkpoints carry along: masks, positions, frequencies. */
const NO_WEIGHT = /(^|\.)(bias|masked_bias|position_ids|inv_freq|[\w.]*_bias)$/;

/**
 * The weight matrices of a checkpoint, in the order of its tensors. There is no graph: names and shapes say what they are. A matrix is
 * taken as stored (of PyTorch's Linear out x in, of GPT-2's Conv1D in x out), a kernel as out x the rest, three-dimensional tensors of
 * experts as one matrix an expert; tensors with scales beside them are read as the numbers that they stand for. Vectors are no
 * matrices and left out. Reads no weights.
 */
export async function checkpointWeights(checkpoint: Checkpoint): Promise<{
  readonly weights: readonly WeightMatrix<StoredUse>[];
  readonly others: readonly Overlooked<WeightUser>[];
}> {
  const { adapters, rest, others: broken } = findAdapters(checkpoint);
  const uses: StoredUse[] = adapters.map(adapterUse);
  const others = [...broken];
  // A safetensors file has its tensors in alphabetical order, layer 10 before layer 2; one of PyTorch in the model's.
  const ordered = checkpoint.format === 'safetensors' ? [...rest].sort(naturally) : rest;
  for (const [module, tensors] of byModule(ordered)) {
    const quantized = await quantizedModule(tensors, `${module}.weight`, checkpoint.config);
    let left = [...tensors];
    if (quantized !== undefined && 'reason' in quantized) {
      others.push({ node: { label: module, opType: 'Linear' }, reason: quantized.reason });
      left = left.filter(([suffix]) => suffix === 'bias');
    } else if (quantized !== undefined) {
      uses.push(...usesOf(quantized.data, module));
      left = left.filter(([suffix]) => !quantized.taken.includes(suffix));
    }
    for (const [suffix, tensor] of left) {
      const scales = suffix.endsWith('_blocks')
        ? tensors.get(suffix.replace(/_blocks$/, '_scales'))
        : undefined;
      const name = tensor.name.replace(/_blocks$/, '');
      const data = scales === undefined ? storedData(tensor) : microscaled(tensor, scales, name);
      if ('reason' in data) others.push({ node: { label: module, opType: 'Linear' }, reason: data.reason });
      else if (scales !== undefined) uses.push(...usesOf(data, module));
      else if (isWeight(tensor)) {
        if (tensor.shape.length > 2 && !isKernel(tensor) && !EXPERTS.test(tensor.name)) {
          const reason = `a tensor of shape [${tensor.shape.join(', ')}], of which the name does not say what it is`;
          others.push({ node: { label: tensor.name, opType: 'Parameter' }, reason });
        } else uses.push(...usesOf(data, module));
      }
    }
  }
  return { weights: merged(uses), others };
}

const { compare } = new Intl.Collator('en', { numeric: true });

function naturally(a: StoredTensor, b: StoredTensor): number {
  return compare(a.name, b.name);
}

/** Tensors by module: what stands before the last part of the name, or before a weight's quantization. */
function byModule(tensors: readonly StoredTensor[]): Map<string, ModuleTensors> {
  const modules = new Map<string, Map<string, StoredTensor>>();
  for (const tensor of tensors) {
    const [, module = '', suffix = tensor.name] =
      /^(?:(.*)\.)?(weight\.(?:absmax|quant_map|nested_\w+|quant_state\..*)|[^.]+)$/.exec(tensor.name) ?? [];
    const known = modules.get(module) ?? new Map<string, StoredTensor>();
    modules.set(module, known.set(suffix, tensor));
  }
  return modules;
}

function isWeight(tensor: StoredTensor): boolean {
  return (
    isReal(tensor.dataType) &&
    tensor.shape.filter((dim) => dim > 1).length >= 2 &&
    !NO_WEIGHT.test(tensor.name)
  );
}

/** Floating-point types; integers without scales are positions and masks. */
function isReal(type: DataType): boolean {
  return /^b?float/.test(type) && type !== 'float8e8m0' && DATA_TYPES[type].bits > 0;
}

function isKernel({ name, shape }: StoredTensor): boolean {
  return name.endsWith('weight') && shape.length > 2 && !EXPERTS.test(name);
}

function usesOf(data: WeightData, module: string): StoredUse[] {
  const { shape, name } = data;
  const isBatch = shape.length > 2 && EXPERTS.test(name);
  const [first = 1, ...inner] = shape;
  const isEmbedding = EMBEDDING.test(module) && shape.length === 2;
  const op = isEmbedding ? 'Embedding' : shape.length > 2 && !isBatch ? 'Conv' : 'Linear';
  const node = { label: module, opType: op };
  if (!isBatch) {
    const columns = inner.reduce((product, dim) => product * dim, 1);
    const conv = { groups: 1, strides: undefined, dilations: undefined };
    return [{ node, op, data, rows: first, columns, ...(op === 'Conv' && { conv }) }];
  }
  const [rows, columns] = shape.slice(-2) as [number, number];
  const count = sizeOf({ shape: shape.slice(0, -2) });
  return Array.from({ length: count }, (_, index) => ({
    node,
    op,
    data,
    name: `${name}[${index}]`,
    rows,
    columns,
    shape: [rows, columns],
    part: { start: index * rows * columns, rows, columns, rowStride: columns, columnStride: 1 },
  }));
}
