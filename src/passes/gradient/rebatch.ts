import {
  findConstant,
  isConstant,
  Model,
  makeNode,
  type Node,
  specOf,
  Tensor,
  type ValueInfo,
} from '../../graph/index.js';
import { createMessage } from '../../graph/proto/codec.js';
import type { GraphProto } from '../../graph/proto/schema.js';
import { constantTensor } from '../../runtime/index.js';

/**
 * The model for another batch than the 1 that its inputs say: a Reshape to [1, ...], as exporters write it that know
 * no other batch, is made to keep the first dimension, whatever it is. The model itself where there is nothing to do.
 *
 * @param inputs with the sizes that are wanted
 */
export function rebatched(model: Model, inputs: readonly ValueInfo[]): Model {
  const { graph } = model;
  const isOther = inputs.some((input) => {
    const said = graph.inputs.find(({ name }) => name === input.name)?.shape?.[0];
    return said === 1 && input.shape?.[0] !== 1;
  });
  if (!isOther) return model;
  const constants: Tensor[] = [];
  const nodes = graph.nodes.map((node) => {
    const target = freedTarget(node);
    if (target === undefined) return node.proto;
    const name = model.freshName('grad/rebatch/shape');
    constants.push(Tensor.of(name, 'int64', [target.length], BigInt64Array.from(target, BigInt)));
    return makeNode({ ...specOf(node.proto), inputs: [node.inputs[0] ?? '', name] });
  });
  const proto = graph.proto as GraphProto;
  return new Model(
    createMessage('ModelProto', {
      ...model.proto,
      graph: createMessage('GraphProto', {
        ...proto,
        node: nodes,
        initializer: [...(proto.initializer ?? []), ...constants.map((tensor) => tensor.proto)],
        value_info: [],
      }),
    }),
  );
}

/** Where a Reshape of activations names a batch of 1: its target with 0 in that place, which keeps what there is. */
function freedTarget(node: Node): number[] | undefined {
  if (!node.is('Reshape') || node.attributes.int('allowzero', 0) !== 0) return undefined;
  const target = constantTensor(node.graph, node.inputs[1] ?? '');
  if (target === undefined || target.size < 2) return undefined;
  if (isConstant(findConstant(node.graph, node.inputs[0] ?? ''))) return undefined;
  const [first, ...rest] = target.integers();
  return first === 1 && !rest.includes(0) ? [0, ...rest] : undefined;
}
