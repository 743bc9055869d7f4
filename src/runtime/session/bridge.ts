import {
  createModel,
  DATA_TYPES,
  type DataType,
  type Model,
  ModelError,
  makeNode,
  narrow,
  ValueInfo,
  widen,
} from '../../graph/index.js';
import { createMessage } from '../../graph/proto/codec.js';
import type { RuntimeTensor } from '../types.js';

/** Names of the float32 stand-ins for inputs and outputs that the Node binding cannot pass, to the model's own. */
export interface Bridge {
  readonly inputs: ReadonlyMap<string, string>;
  readonly outputs: ReadonlyMap<string, string>;
}

const PREFIX = 'onnx-overparam:float32:';

/**
 * The model with a Cast behind each bfloat16 input and output, so that float32 goes in and comes out. Both ways
 * are exact. The given model stays as it is; the new one shares its parts.
 *
 * @throws ModelError naming an input or output of a type that cannot be bridged
 */
export function bridge(model: Model, file?: string): Bridge & { readonly model: Model } {
  const { graph } = model;
  const inputs = new Map<string, string>();
  const outputs = new Map<string, string>();
  const before = [];
  const behind = [];
  const swap = (value: ValueInfo, names: Map<string, string>): ValueInfo => {
    names.set(`${PREFIX}${value.name}`, value.name);
    return ValueInfo.tensor(`${PREFIX}${value.name}`, 'float32', value.shape);
  };
  const newInputs = [];
  for (const input of graph.inputs) {
    const isFed = !graph.initializers.has(input.name);
    if (isFed) refuse(input, 'input', file);
    if (!isFed || input.dataType !== 'bfloat16') {
      newInputs.push(input.proto);
      continue;
    }
    const swapped = swap(input, inputs);
    newInputs.push(swapped.proto);
    before.push(cast(swapped.name, input.name, 'bfloat16'));
  }
  const newOutputs = [];
  for (const output of graph.outputs) {
    refuse(output, 'output', file);
    if (output.dataType !== 'bfloat16') {
      newOutputs.push(output.proto);
      continue;
    }
    const swapped = swap(output, outputs);
    newOutputs.push(swapped.proto);
    behind.push(cast(output.name, swapped.name, 'float32'));
  }
  const proto = createMessage('ModelProto', {
    ...model.proto,
    graph: createMessage('GraphProto', {
      ...graph.proto,
      input: newInputs,
      output: newOutputs,
      node: [...before, ...graph.nodes.map((node) => node.proto), ...behind],
    }),
  });
  return { model: createModel(proto), inputs, outputs };
}

const REFUSED: readonly (DataType | undefined)[] = [
  'complex64',
  'complex128',
  'float8e4m3fn',
  'float8e4m3fnuz',
  'float8e5m2',
  'float8e5m2fnuz',
  'float8e8m0',
  'float4e2m1',
  'uint2',
  'int2',
];

function refuse(value: ValueInfo, side: 'input' | 'output', file: string | undefined): void {
  if (value.kind !== 'tensor' || !REFUSED.includes(value.dataType)) return;
  throw new ModelError(
    `${side} '${value.name}' is ${value.dataType}, which onnxruntime-node does not pass; put a Cast to float32 there`,
    { file },
  );
}

function cast(from: string, to: string, type: 'float32' | 'bfloat16') {
  return makeNode({
    opType: 'Cast',
    inputs: [from],
    outputs: [to],
    attributes: { to: { int: DATA_TYPES[type].code } },
  });
}

export function toBridge(tensor: RuntimeTensor): RuntimeTensor {
  return { ...tensor, type: 'float32', data: widen('bfloat16', tensor.data as Uint16Array) };
}

export function fromBridge(tensor: RuntimeTensor): RuntimeTensor {
  return { ...tensor, type: 'bfloat16', data: narrow('bfloat16', tensor.data as Float32Array) };
}
