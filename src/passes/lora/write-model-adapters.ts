import { atomicWrite, MemorySource, type Model, ModelError } from '../../graph/index.js';
import { onnxAdapter } from '../../runtime/checkpoint/write-onnx-adapter.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import type { RuntimeTensor } from '../../runtime/index.js';
import { type AdapterFileOptions, isOnnxAdapter, writeAdapter } from './adapter-file.js';
import { factorValues, findModelAdapters } from './find-adapters.js';
import { modelAdapters, type ReadAdapters } from './read-adapter.js';

/**
 * Writes the adapters that a model holds, as training left them: as PEFT does, or, where the path ends in .onnx_adapter, each factor under the
 * name of the model's input (addAdapters with `inputs`), so that onnxruntime can put it there; the scale then stays in the graph.
 *
 * @param adapters of modelAdapters
 * @throws ModelError where the model has none, or a file exists (without overwrite) or cannot be written
 * @example
 * const model = await readModel('trained.onnx');
 * await writeModelAdapters('style.onnx_adapter', model);
 */
export async function writeModelAdapters(
  path: string,
  model: Model,
  options: AdapterFileOptions & { readonly adapters?: ReadAdapters['adapters'] } = {},
): Promise<void> {
  const { adapters = (await modelAdapters(model)).adapters } = options;
  if (adapters.length === 0) throw new ModelError('has no adapters', { file: model.path });
  if (!isOnnxAdapter(path)) return writeAdapter(path, adapters, options);
  const tensors = new Map<string, RuntimeTensor>();
  for (const found of findModelAdapters(model).adapters) {
    for (const name of factorValues(found)) {
      const tensor = await evaluateConstant(found.add.graph, name);
      tensors.set(name, {
        type: tensor.dataType,
        shape: tensor.shape,
        data: tensor.array(),
      } as RuntimeTensor);
    }
  }
  await atomicWrite(path, new MemorySource(onnxAdapter(tensors)), options);
}
