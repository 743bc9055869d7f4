import { type Adapter, findAdapters } from '../../analysis/weights/checkpoint/adapters.js';
import { storedElements } from '../../analysis/weights/checkpoint/stored-data.js';
import { type Model, ModelError } from '../../graph/index.js';
import type { Skipped } from '../../graph/skipped.js';
import { type Floats, transposed } from '../../linalg/floats.js';
import type { Checkpoint, StoredTensor } from '../../runtime/checkpoint/index.js';
import type { LoraFactors } from './adapter-file.js';
import { findModelAdapters, readNumbers } from './find-adapters.js';
import { adapterProduct } from './products.js';
import { columnsOf } from './slots.js';

/** Adapters, and what of where they were read from is none, with the reason. */
export interface ReadAdapters {
  readonly adapters: readonly LoraFactors[];
  readonly skipped: readonly Skipped[];
}

/**
 * The low-rank adapters of a PEFT folder or an `.onnx_adapter`, which addAdapters puts beside the layers of a model.
 *
 * @param checkpoint what openCheckpoint opened
 * @throws ModelError where it has none, or adapters that are more than low-rank products (DoRA)
 * @example
 * const checkpoint = await openCheckpoint('adapter/');
 * if ('tensors' in checkpoint) {
 *   const { adapters } = await readAdapters(checkpoint);
 *   await model.apply(addAdapters({ adapters }));
 * }
 */
export async function readAdapters(checkpoint: Checkpoint): Promise<ReadAdapters> {
  const { path, adapter: config } = checkpoint;
  const { adapters, rest, others } = findAdapters(checkpoint);
  const isDora = config?.use_dora === true || rest.some(({ name }) => name.includes('lora_magnitude_vector'));
  if (isDora)
    throw new ModelError('is DoRA: it also scales the weights, which an adapter beside a layer cannot', {
      file: path,
    });
  const kind = config?.peft_type;
  if (adapters.length === 0)
    throw new ModelError(`has no low-rank adapters${typeof kind === 'string' ? `: it is ${kind}` : ''}`, {
      file: path,
    });
  const skipped: Skipped[] = others.map(({ node, reason }) => ({
    node: node.label,
    op: node.opType,
    reason,
  }));
  for (const { name } of rest)
    skipped.push({ node: name, op: 'tensor', reason: 'it is no factor of an adapter and was not applied' });
  const read: LoraFactors[] = [];
  for (const one of adapters) {
    // An embedding that is tied to a head has the head's name, and PEFT leaves the head as it is.
    if (!one.a.name.includes('lora_embedding_')) read.push(await factorsOf(one));
    else
      skipped.push({
        node: one.module,
        op: 'LoRA',
        reason: 'it is of an embedding, which is no matrix product',
      });
  }
  return { adapters: read, skipped };
}

async function factorsOf(adapter: Adapter): Promise<LoraFactors> {
  const { module, a, b, rank, inputs, outputs, scale, isTransposed } = adapter;
  const read = async (tensor: StoredTensor, rows: number): Promise<Floats> => {
    const data = await storedElements(tensor);
    return isTransposed ? transposed(data, rows) : data;
  };
  return {
    module,
    scale,
    a: { rows: rank, columns: inputs, data: await read(a, inputs) },
    b: { rows: outputs, columns: rank, data: await read(b, rank) },
    ...(a.shape.length > 2 && { kernel: a.shape.slice(2) }),
  };
}

/**
 * The adapters that addAdapters put into a model, as training left them; of three factors the last two are multiplied.
 *
 * @example
 * const { adapters } = await modelAdapters(await readModel('trained.onnx'));
 * await writeAdapter('adapter', adapters);
 */
export async function modelAdapters(model: Model): Promise<ReadAdapters> {
  const { adapters, broken } = findModelAdapters(model);
  const skipped: Skipped[] = [...broken];
  const read = new Map<string, LoraFactors>();
  for (const found of adapters) {
    const { slot, note, add } = found;
    const leaveOut = (reason: string): void => {
      skipped.push({ node: add.label, op: 'LoRA', reason });
    };
    if (slot.groups > 1) {
      leaveOut(`its layer has ${slot.groups} groups, for which PEFT has no adapter`);
      continue;
    }
    const numbers = await readNumbers(found);
    if ('reason' in numbers) {
      leaveOut(numbers.reason);
      continue;
    }
    const { rank, scale, factors } = numbers;
    const [first, ...more] = factors;
    if (first === undefined) continue;
    const inner = { ...slot, inputs: rank, kernel: [] };
    const [b] = await adapterProduct(inner, more, rank);
    if (b === undefined) continue;
    read.set(note.module, {
      module: note.module,
      scale,
      a: { rows: rank, columns: columnsOf(slot), data: first },
      b,
      ...(slot.kernel.length > 0 && { kernel: slot.kernel }),
    });
  }
  return { adapters: [...read.values()], skipped };
}
