import {
  ancestors,
  isFloatType,
  type Model,
  ModelError,
  makeNode,
  type Node,
  type ValueInfo,
  withNodes,
} from '../../../graph/index.js';
import type { NodeProto } from '../../../graph/proto/schema.js';
import { Builder } from '../builder.js';
import { required } from '../rules/arithmetic.js';
import { at } from '../shapes.js';
import type { Value } from '../value.js';
import { probe } from './infer-shapes.js';
import {
  type Activation,
  activationsOf,
  CELLS,
  type Cell,
  cut,
  type RecurrentOp,
  type State,
} from './recurrent-cells.js';

/** Inputs of RNN, GRU and LSTM, in their order. */
interface Inputs {
  /** [steps, batch, inputs] */
  readonly x: Value;
  /** [directions, gates * hidden, inputs] */
  readonly w: Value;
  /** [directions, gates * hidden, hidden] */
  readonly r: Value;
  /** [directions, 2 * gates * hidden] */
  readonly bias: Value | undefined;
  /** [batch], the length of each sequence. */
  readonly lengths: Value | undefined;
  /** [directions, batch, hidden] */
  readonly hidden: Value | undefined;
  readonly cell: Value | undefined;
  /** [directions, 3 * hidden] */
  readonly peepholes: Value | undefined;
}

/** Which input the lengths are. */
const LENGTHS = 4;

/**
 * RNN, GRU and LSTM nodes written out step by step, in operators that have gradients: what backpropagation through time
 * differentiates (Werbos 1990). The inputs of all steps go through one product. The given model stays as it is, or is
 * returned where it has no such node.
 *
 * @param inputs with settled sizes
 * @param output the value whose ancestors count
 * @throws ModelError for activations that no training framework has
 */
export async function unrolled(model: Model, inputs: readonly ValueInfo[], output: string): Promise<Model> {
  const { graph } = model;
  const recurrent = new Set(
    ancestors(graph.nodes, [output]).filter((node) => node.is(...Object.keys(CELLS))),
  );
  if (recurrent.size === 0) return model;
  const read = [...recurrent].flatMap((node) => node.inputs.filter((name) => name !== ''));
  const { shapes } = await probe(model, inputs, read);
  const build = new Builder((name) => model.freshName(name));
  const nodes = graph.nodes.flatMap((node): NodeProto[] => {
    if (!recurrent.has(node)) return [node.proto];
    build.scope = node.label;
    unroll(node, shapes, build);
    return build.nodes.splice(0).map(makeNode);
  });
  return withNodes(model, nodes, build.constants);
}

function unroll(node: Node, shapes: ReadonlyMap<string, readonly number[]>, build: Builder): void {
  const cell = CELLS[node.opType as RecurrentOp];
  const { graph, attributes } = node;
  const weight = [1, 2].map((index) => graph.initializers.get(node.inputs[index] ?? '')?.dataType);
  const type = weight.find((known) => known !== undefined && isFloatType(known)) ?? 'float32';
  const inputs = node.inputs.map((name, index): Value | undefined => {
    const own = index === LENGTHS ? 'int32' : type;
    return name === '' ? undefined : { name, type: own, shape: shapes.get(name) ?? [] };
  });
  const lengths = inputs[LENGTHS];
  const given: Inputs = {
    x: required(inputs, 0),
    w: required(inputs, 1),
    r: required(inputs, 2),
    bias: inputs[3],
    lengths: lengths && build.cast(lengths, 'int64'),
    hidden: inputs[5],
    cell: inputs[6],
    peepholes: inputs[7],
  };
  const direction = attributes.string('direction', 'forward');
  const directions = at(given.w.shape, 0);
  const activations = activationsOf(node, directions * cell.activations.length, cell.activations);
  const runs = Array.from({ length: directions }, (_, index) => {
    const isReverse = direction === 'reverse' || index === 1;
    const count = cell.activations.length;
    const own = activations.slice(index * count, (index + 1) * count);
    return run({ node, cell, given, index, directions, isReverse, activations: own, build });
  });
  const [steps, batch] = [at(given.x.shape, 0), at(given.x.shape, 1)];
  const hidden = at(given.r.shape, 2);
  const named = (index: number, value: () => Value): void => {
    const name = node.outputs[index] ?? '';
    if (name === '') return;
    const made = value();
    build.multi('Identity', [made], [{ shape: made.shape, type, name }]);
  };
  const last = (states: readonly Value[]): Value =>
    build.concat(
      states.map((state) => build.reshape(state, [1, batch, hidden])),
      0,
    );
  named(0, () => {
    const all = runs.map(({ outputs }) => build.reshape(build.concat(outputs, 0), [steps, 1, batch, hidden]));
    return build.concat(all, 1);
  });
  named(1, () => last(runs.map(({ state }) => state.hidden)));
  named(2, () => last(runs.map(({ state }) => state.cell ?? state.hidden)));
}

interface Direction {
  readonly node: Node;
  readonly cell: Cell;
  readonly given: Inputs;
  readonly index: number;
  readonly directions: number;
  readonly isReverse: boolean;
  readonly activations: readonly Activation[];
  readonly build: Builder;
}

/** One direction: what each step puts out, in the order of time, and the state at the end. */
function run(direction: Direction): { outputs: Value[]; state: State & { hidden: Value } } {
  const { node, cell, given, index, directions, isReverse, activations, build } = direction;
  const [steps, batch, width] = [0, 1, 2].map((axis) => at(given.x.shape, axis)) as [number, number, number];
  const hidden = at(given.r.shape, 2);
  const size = cell.gates * hidden;
  const part = (value: Value): Value =>
    at(cut(build, value, new Array<number>(directions).fill(1), 0), index);
  const optional = (value: Value | undefined, shape: readonly number[]): Value | undefined =>
    value && build.reshape(part(value), shape);
  const w = build.reshape(part(given.w), [size, width]);
  const r = build.reshape(part(given.r), [size, hidden]);
  const bias = optional(given.bias, [2 * size]);
  const [inputBias, stateBias] = bias ? cut(build, bias, [size, size], 0) : [];
  const weights = { r, ...cell.biases(build, inputBias, stateBias, hidden) };
  const flat = build.reshape(given.x, [steps * batch, width]);
  const product = build.addedGemm(flat, w, false, true, weights.input ? { c: weights.input } : {});
  const projected = cut(build, product, new Array<number>(steps).fill(batch), 0);
  const clip = node.attributes.has('clip') ? node.attributes.float('clip', 0) : undefined;
  const peepholes = optional(given.peepholes, [3 * hidden]);
  const step = cell.step({
    build,
    hidden,
    recurrent: weights.r,
    stateBias: weights.state,
    clip,
    activations,
    peepholes: peepholes && cut(build, peepholes, [hidden, hidden, hidden], 0),
    isResetAfter: node.attributes.int('linear_before_reset', 0) !== 0,
    isCoupled: node.attributes.int('input_forget', 0) !== 0,
  });
  let state: State = {
    hidden: optional(given.hidden, [batch, hidden]),
    cell: optional(given.cell, [batch, hidden]),
  };
  const zeros = (): Value => build.filled(given.x.type, [batch, hidden]);
  const outputs = new Array<Value>(steps);
  const times = Array.from({ length: steps }, (_, time) => (isReverse ? steps - 1 - time : time));
  for (const time of times) {
    const next = step(at(projected, time), state);
    if (given.lengths === undefined) {
      outputs[time] = next.hidden;
      state = next;
      continue;
    }
    // Past its end a sequence puts out zeros and keeps its state.
    const lengths = build.reshape(given.lengths, [batch, 1]);
    const isWithin = build.op('Greater', [lengths, build.scalar('int64', time)], [batch, 1], {}, 'bool');
    outputs[time] = build.where(isWithin, next.hidden, zeros());
    const kept = (now: Value | undefined, before: Value | undefined): Value | undefined =>
      now && build.where(isWithin, now, before ?? zeros());
    state = { hidden: kept(next.hidden, state.hidden), cell: kept(next.cell, state.cell) };
  }
  if (state.hidden === undefined) {
    throw new ModelError('a sequence without a step has no gradient', { node: node.label });
  }
  return { outputs, state: { ...state, hidden: state.hidden } };
}
