import {
  DATA_TYPES,
  EPSILON,
  type FloatType,
  type GraphProto,
  isFloatType,
  type Model,
  type NativeArrays,
  type Node,
  type NodeProto,
  type NodeSpec,
  narrow,
  Tensor,
  traitsOf,
  ValueInfo,
  valuesRead,
  widen,
} from '../../graph/index.js';
import { fedInputs } from '../../runtime/inputs/input-sizes.js';
import { Random } from '../../runtime/random.js';
import { partOf } from '../../runtime/session/part.js';
import { buildModel } from '../../runtime/session/small-model.js';
import type { RuntimeTensor, Session } from '../../runtime/types.js';
import type { Comparison } from './output-comparison.js';

/** Units in the last place that inputs are moved by. */
const INPUT_ULPS = 16;
/** What each operator that computes moves its result by, at most. */
const RESULT_ULPS = 4;
/** The same of operators that compute in many steps inside. */
const RECURRENT_ULPS = 16;
/** How often, for a quantized network jumps where it moves at all. */
const ROUNDING_DRAWS = 4;

/** Operators that choose among values, or change a sign: with those that move values, they round nothing. */
const EXACT = [
  ...[
    'Relu',
    'Abs',
    'Neg',
    'Clip',
    'Min',
    'Max',
    'Where',
    'MaxPool',
    'GlobalMaxPool',
    'ReduceMax',
    'ReduceMin',
  ],
  'Dropout',
];

/** Operators with values of order 1, whose kernels are exact to a step of 1: where a value is near zero, that is much of it. */
const BOUNDED = ['Sigmoid', 'HardSigmoid', 'Tanh', 'Erf', 'Sin', 'Cos', 'Softsign'];

/** Itself, or what stands in a branch or a body of it. */
export function isDeciding(node: Node): boolean {
  return traitsOf(node).decides === true || node.subgraphs.some((graph) => graph.nodes.some(isDeciding));
}

function isExact(node: Node): boolean {
  return traitsOf(node).moves === true || node.is(...EXACT);
}

function isBounded(node: Node): boolean {
  return node.is(...BOUNDED);
}

/** Inputs that it multiplies or adds. In others a constant may be a size, a scale of it or a limit. */
function weightsOf(node: Node): readonly number[] {
  return isExact(node) ? [] : (traitsOf(node).weights ?? []);
}

/** The nodes whose results depend on what the inputs hold, and not on their shapes alone. */
export function movingNodes(nodes: readonly Node[], model: Model): Node[] {
  const moving = new Set(fedInputs(model.graph).map(({ name }) => name));
  return nodes.filter((node) => {
    if (node.is('Shape', 'Size')) return false;
    if (![...valuesRead(node.proto)].some((name) => moving.has(name))) return false;
    for (const name of node.outputs) if (name !== '') moving.add(name);
    return true;
  });
}

/** How much of an output may be the step of the kernel that makes it, whatever its size. */
export function stepOf(model: Model, output: string, type: FloatType): number {
  let maker = model.graph.producer(output);
  while (maker !== undefined && isExact(maker)) maker = model.graph.producer(maker.inputs[0] ?? '');
  return maker !== undefined && isBounded(maker) ? EPSILON[type] : 0;
}

const PREFIX = 'onnx-overparam:rounding:';
/** Scales all that is moved; 0 leaves it as it is. */
const AMOUNT = `${PREFIX}amount`;

/**
 * A model that rounds at random: what its operators compute, and the weights that they compute with, move in their last bits, anew
 * in each run. A weight moves the more the longer the sums over it are. Its inputs are the model's own and one more, `amount`: 1, or
 * 0 for the model as it is. Branches and bodies, and functions, move in what comes out of them alone.
 */
function roundingModel(model: Model, types: ReadonlyMap<string, FloatType>): Model {
  const { graph } = model;
  const added: NodeSpec[] = [];
  const constants: Tensor[] = [];
  const steps = new Map<string, string>();
  /** A number of units in the last place, as a value of the type that is computed in. */
  const stepFor = (type: FloatType, ulps: number): string => {
    const name = `${PREFIX}step ${type} ${ulps}`;
    if (steps.has(name)) return name;
    steps.set(name, type);
    const wide = type === 'float64' ? 'float64' : 'float32';
    const step = EPSILON[type] * ulps;
    const data = wide === 'float64' ? Float64Array.of(step) : Float32Array.of(step);
    constants.push(Tensor.of(`${name} constant`, wide, [], data));
    const amount = wide === 'float64' ? `${name} amount` : AMOUNT;
    if (wide === 'float64') {
      added.push({ opType: 'Cast', inputs: [AMOUNT], outputs: [amount], attributes: { to: { int: 11 } } });
    }
    added.push({ opType: 'Mul', inputs: [amount, `${name} constant`], outputs: [name] });
    return name;
  };
  for (const wide of ['float32', 'float64'] as const) {
    const one = wide === 'float64' ? Float64Array.of(1) : Float32Array.of(1);
    constants.push(Tensor.of(`${PREFIX}one ${wide}`, wide, [], one));
  }
  let seed = 0;
  const move = (from: string, to: string, type: FloatType, ulps: number, hasStep = false): NodeSpec[] => {
    seed += 1;
    const wide = type === 'float64' ? 'float64' : 'float32';
    const isNarrow = type !== wide;
    const own = (what: string): string => `${PREFIX}${what} ${to}`;
    const cast = (input: string, output: string, as: FloatType): NodeSpec => ({
      opType: 'Cast',
      inputs: [input],
      outputs: [output],
      attributes: { to: { int: DATA_TYPES[as].code } },
    });
    const product = hasStep ? own('product') : isNarrow ? own('wide') : to;
    return [
      {
        opType: 'RandomUniformLike',
        inputs: [from],
        outputs: [own('random')],
        attributes: {
          low: { float: -1 },
          high: { float: 1 },
          seed: { float: seed },
          dtype: { int: DATA_TYPES[wide].code },
        },
      },
      { opType: 'Mul', inputs: [own('random'), stepFor(type, ulps)], outputs: [own('part')] },
      // Not x + x * part, which makes NaN of an infinity.
      { opType: 'Add', inputs: [own('part'), `${PREFIX}one ${wide}`], outputs: [own('factor')] },
      ...(isNarrow ? [cast(from, own('from'), wide)] : []),
      { opType: 'Mul', inputs: [isNarrow ? own('from') : from, own('factor')], outputs: [product] },
      ...(hasStep
        ? [
            { opType: 'Mul', inputs: [own('random'), stepFor(type, 1)], outputs: [own('term')] },
            { opType: 'Add', inputs: [product, own('term')], outputs: [isNarrow ? own('wide') : to] },
          ]
        : []),
      ...(isNarrow ? [cast(own('wide'), to, type)] : []),
    ];
  };
  const weights = new Map<string, NodeSpec[]>();
  const movedWeight = (name: string): string => {
    const tensor = graph.initializers.get(name);
    if (tensor === undefined || !isFloatType(tensor.dataType) || tensor.size === 0) return name;
    const moved = `${PREFIX}weight ${name}`;
    if (!weights.has(name)) {
      const terms = tensor.size / Math.max(1, ...tensor.shape);
      weights.set(name, move(name, moved, tensor.dataType, RESULT_ULPS + Math.ceil(Math.sqrt(terms) / 2)));
    }
    return moved;
  };
  const moving = new Set(movingNodes(graph.nodes, model));
  const nodes = graph.nodes.flatMap((node): (NodeSpec | NodeProto)[] => {
    if (!moving.has(node)) return [node.proto];
    const weighted = weightsOf(node);
    const input = node.inputs.map((name, index) => (weighted.includes(index) ? movedWeight(name) : name));
    const roundsNothing = isDeciding(node) || isExact(node);
    const ulps =
      traitsOf(node).gates !== undefined || node.subgraphs.length > 0 ? RECURRENT_ULPS : RESULT_ULPS;
    const behind: NodeSpec[] = [];
    const output = node.outputs.map((name) => {
      const type = types.get(name);
      if (roundsNothing || type === undefined) return name;
      behind.push(...move(`${PREFIX}result ${name}`, name, type, ulps, isBounded(node)));
      return `${PREFIX}result ${name}`;
    });
    return [{ ...node.proto, input, output }, ...behind];
  });
  return buildModel({
    nodes: [...added, ...[...weights.values()].flat(), ...nodes],
    inputs: [...fedInputs(graph), ValueInfo.tensor(AMOUNT, 'float32', [])],
    outputs: graph.outputs,
    initializers: [...graph.initializers.values(), ...constants],
    sparseInitializers: (graph.proto as GraphProto).sparse_initializer ?? [],
    opset: model.proto.opset_import ?? [],
    functions: model.proto.functions ?? [],
    irVersion: Math.max(4, model.irVersion),
  });
}

/** Which values of the main graph are floating-point, and of what type: onnxruntime finds out. */
async function floatTypes(
  model: Model,
  open: (part: Model) => Promise<Session>,
): Promise<Map<string, FloatType>> {
  const made = movingNodes(model.graph.nodes, model).flatMap((node) =>
    node.outputs.filter((name) => name !== ''),
  );
  await using session = await open(partOf(model, made));
  return new Map(
    session.outputs.flatMap(({ name, type }) =>
      type !== undefined && isFloatType(type) ? [[name, type] as const] : [],
    ),
  );
}

type Tensors = Readonly<Record<string, RuntimeTensor>>;

/** A sample, and inputs of it that are no floating-point data, but decisions, and stay as they are. */
export interface RoundedSample {
  readonly seed: number;
  readonly feeds: Tensors;
  readonly fixed?: Tensors | undefined;
}

/**
 * Runs a model with roundings that it might as well have made, and hands what moves to the comparisons of its outputs: its inputs
 * move in their last bits and, where onnxruntime takes such a model, all that it computes inside.
 *
 * @param open opens a model on what that runs on
 */
export async function addRounding(
  model: Model,
  open: (model: Model) => Promise<Session>,
  samples: Iterable<RoundedSample> | AsyncIterable<RoundedSample>,
  comparisons: ReadonlyMap<string, Comparison>,
): Promise<void> {
  const inside = async (): Promise<Session> =>
    await open(roundingModel(model, await floatTypes(model, open)));
  // Some models do not load with all that is inside; then the inputs alone move.
  await using session = await inside().catch(() => open(model));
  const isInside = session.inputs.some(({ name }) => name === AMOUNT);
  const amount = (value: number): Tensors =>
    isInside ? { [AMOUNT]: { type: 'float32', shape: [], data: Float32Array.of(value) } } : {};
  const wanted = { outputs: [...comparisons.keys()] };
  for await (const { seed, feeds, fixed = {} } of samples) {
    const random = new Random(seed, 'rounding');
    const before = await session.run({ ...feeds, ...fixed, ...amount(0) }, wanted);
    for (let draw = 0; draw < ROUNDING_DRAWS; draw += 1) {
      const others = Object.entries(feeds).map(([name, tensor]) => [name, moved(tensor, random)] as const);
      const after = await session.run({ ...Object.fromEntries(others), ...fixed, ...amount(1) }, wanted);
      for (const [name, comparison] of comparisons) {
        const [left, right] = [before[name], after[name]];
        if (left !== undefined && right?.shape.join() === left.shape.join())
          comparison.addRounding(left, right);
      }
    }
  }
}

function moved({ type, shape, data }: RuntimeTensor, random: Random): RuntimeTensor {
  if (!isFloatType(type)) return { type, shape, data };
  const step = INPUT_ULPS * EPSILON[type];
  const values = widen(type, data as NativeArrays[typeof type]).map(
    (value) => value * (1 + (random.integer(2) === 0 ? -step : step)),
  );
  return { type, shape, data: narrow(type, values) };
}
