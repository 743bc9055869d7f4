import { ancestors, type Model, type NodeSpec, type ValueInfo, valuesRead } from '../../graph/index.js';
import type { GraphProto, NodeProto } from '../../graph/proto/schema.js';
import { fedInputs } from '../inputs/input-sizes.js';
import { buildModel } from './small-model.js';

/** What takes the place of a model's own outputs. */
export interface PartOptions {
  /** Nodes that read values of the main graph, behind its own. */
  readonly append?: readonly NodeSpec[] | undefined;
  /** Values that become inputs, in place of the nodes that make them. */
  readonly given?: readonly ValueInfo[] | undefined;
}

/**
 * The part of a model that makes some values of its main graph, which become its outputs: what they do not need is
 * left out. The model is not changed; its tensors are shared.
 *
 * @example
 * await using session = await openSession(partOf(model, ['conv1_output']));
 */
export function partOf(model: Model, outputs: readonly string[], options: PartOptions = {}): Model {
  const { append = [], given = [] } = options;
  const { graph } = model;
  const appended = new Set(append.flatMap((node) => node.outputs));
  const wanted = [
    ...outputs.filter((name) => !appended.has(name)),
    ...append.flatMap((node) => node.inputs.filter((name) => !appended.has(name))),
  ];
  const isGiven = new Set(given.map(({ name }) => name));
  const makers = graph.nodes.filter((node) => !node.outputs.some((name) => isGiven.has(name)));
  const nodes = ancestors(makers, wanted);
  const read = new Set([...wanted, ...nodes.flatMap((node) => [...valuesRead(node.proto)])]);
  const sparse = (graph.proto as GraphProto).sparse_initializer ?? [];
  return buildModel({
    nodes: [...nodes.map((node): NodeProto => node.proto), ...append],
    // All of them, needed or not: the caller feeds the model.
    inputs: [...fedInputs(graph), ...given],
    outputs: outputs.map(
      (name): ValueInfo | string => graph.outputs.find((one) => one.name === name) ?? name,
    ),
    initializers: [...graph.initializers].filter(([name]) => read.has(name)).map(([, tensor]) => tensor),
    sparseInitializers: sparse.filter(({ values }) => read.has(values?.name ?? '')),
    opset: model.proto.opset_import ?? [],
    functions: model.proto.functions ?? [],
    irVersion: Math.max(4, model.irVersion),
  });
}
