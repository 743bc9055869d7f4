import {
  createModel,
  type Model,
  makeNode,
  type NodeSpec,
  type Tensor,
  type ValueInfo,
} from '../../graph/index.js';
import { createMessage, fromBigInt } from '../../graph/proto/codec.js';
import type {
  ModelProto,
  NodeProto,
  OperatorSetIdProto,
  SparseTensorProto,
} from '../../graph/proto/schema.js';

export interface ModelParts {
  readonly nodes: readonly (NodeSpec | NodeProto)[];
  readonly inputs?: readonly ValueInfo[];
  /** By name alone where the runtime is to find out the type. */
  readonly outputs: readonly (ValueInfo | string)[];
  readonly initializers?: readonly Tensor[];
  readonly sparseInitializers?: readonly SparseTensorProto[];
  /** Version of the standard operator set, or the imports of another model. */
  readonly opset: number | readonly OperatorSetIdProto[];
  readonly functions?: ModelProto['functions'];
  readonly irVersion?: number;
}

/** A small model in memory, for the runtime alone: its outputs may lack types, which a file should not. */
export function buildModel(parts: ModelParts): Model {
  const { opset } = parts;
  const proto = createMessage('ModelProto', {
    ir_version: fromBigInt(parts.irVersion ?? 8),
    opset_import:
      typeof opset === 'number'
        ? [createMessage('OperatorSetIdProto', { domain: '', version: fromBigInt(opset) })]
        : [...opset],
    graph: createMessage('GraphProto', {
      name: 'onnx-overparam',
      node: parts.nodes.map((node) => ('opType' in node ? makeNode(node) : node)),
      initializer: (parts.initializers ?? []).map((tensor) => tensor.proto),
      sparse_initializer: [...(parts.sparseInitializers ?? [])],
      input: (parts.inputs ?? []).map((input) => input.proto),
      output: parts.outputs.map((output) =>
        typeof output === 'string' ? createMessage('ValueInfoProto', { name: output }) : output.proto,
      ),
    }),
    functions: [...(parts.functions ?? [])],
  });
  return createModel(proto);
}
