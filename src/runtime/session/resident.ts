import { ValueInfo } from '../../graph/index.js';
import type { RuntimeTensor } from '../types.js';
import { isResident, releaseTensor } from './ort-session.js';
import { openSession } from './session.js';
import { buildModel } from './small-model.js';

export { releaseTensor };

/**
 * A copy of a tensor, from the device where it stayed there. Through a session that only hands it on: onnxruntime-node
 * 1.30 aborts the process when it is asked for the data of such a tensor.
 */
export async function fetchTensor(tensor: RuntimeTensor): Promise<RuntimeTensor> {
  if (!isResident(tensor)) return { ...tensor, data: tensor.data.slice() };
  const { type, shape } = tensor;
  const model = buildModel({
    nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
    inputs: [ValueInfo.tensor('x', type, shape)],
    outputs: [ValueInfo.tensor('y', type, shape)],
    opset: 18,
  });
  await using session = await openSession(model, { providers: 'webgpu' });
  const { y } = await session.run({ x: tensor });
  return y as RuntimeTensor;
}
