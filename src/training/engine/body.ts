import {
  ancestors,
  createNode,
  type DataType,
  makeNode,
  type NodeProto,
  type NodeSpec,
  type Tensor,
  ValueInfo,
} from '../../graph/index.js';
import type { GraphProto, SparseTensorProto, TensorProto } from '../../graph/proto/schema.js';
import type { Step } from './step.js';

/** The nodes and constants of a step, and what it returns, in the order of `outputsOf`. */
export interface Body {
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
  readonly sparse: readonly SparseTensorProto[];
  readonly carried: readonly ValueInfo[];
  readonly loss: ValueInfo;
  readonly norms: ValueInfo;
  readonly correct: ValueInfo | undefined;
}

/**
 * Puts the parts of a step together.
 *
 * @param head what stands before: nodes and constants that make what the step reads
 * @param kept values to make though the step does without them
 */
export function bodyOf(
  step: Step,
  head: { readonly nodes: readonly NodeSpec[]; readonly constants: readonly Tensor[] },
  kept: readonly string[] = [],
): Body {
  const base = step.gradient.model;
  const proto = base.graph.proto as GraphProto;
  // A name of its own for what is no node's output or leaves twice: a copy, which the others are spared.
  const tail: NodeSpec[] = [];
  const made = new Set([...base.graph.nodes, ...step.build.nodes].flatMap(({ outputs }) => outputs));
  const leave = (from: string, type: DataType, shape: readonly number[]): ValueInfo => {
    if (made.delete(from)) return ValueInfo.tensor(from, type, shape);
    const name = base.freshName('step/out');
    tail.push({ opType: 'Identity', inputs: [from], outputs: [name] });
    return ValueInfo.tensor(name, type, shape);
  };
  const carried = step.carried.map(({ to, type, shape }) => leave(to, type, shape));
  const loss = leave(step.loss.name, 'float32', []);
  const norms = leave(step.norms.name, 'float32', step.norms.shape);
  const correct = step.correct && leave(step.correct.name, 'float32', []);
  const constants = [head, step.before, step.build].flatMap((part) => part.constants);
  const all = [
    ...[...head.nodes, ...step.before.nodes].map(makeNode),
    ...base.graph.nodes.map((node) => node.proto),
    ...[...step.build.nodes, ...tail].map(makeNode),
  ].map((node) => createNode(node, base.graph));
  const figures = [loss, norms, ...(correct ? [correct] : [])].map(({ name }) => name);
  const needed = ancestors(all, [...carried.map(({ name }) => name), ...figures, ...kept]);
  // Figures first: of nodes that nothing reads, onnxruntime runs the last of the file first. So the last layer is updated as soon
  // as its gradient is there, and what only it needed is free.
  const ofFigures = new Set(ancestors(needed, figures));
  const nodes = [...ofFigures, ...needed.filter((node) => !ofFigures.has(node))];
  return {
    nodes: nodes.map(({ proto }) => proto),
    initializers: [
      ...(proto.initializer ?? []),
      ...[...constants, ...(step.masks?.tables ?? [])].map((tensor) => tensor.proto),
    ],
    sparse: proto.sparse_initializer ?? [],
    carried,
    loss,
    norms,
    correct,
  };
}

/** Inputs of the step's gradient that are neither carried nor made: data and target. */
export function dataInputs(step: Step): ValueInfo[] {
  const inner = new Set([
    ...step.carried.map(({ from }) => from),
    ...step.before.nodes.flatMap(({ outputs }) => outputs),
    ...step.gradient.masks.map(({ name }) => name),
  ]);
  return step.gradient.model.graph.inputs.filter(({ name }) => !inner.has(name));
}
