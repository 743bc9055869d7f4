import {
  ancestors,
  createModel,
  findConstant,
  isConstant,
  type Model,
  ModelError,
  makeNode,
  type Node,
  type NodeProto,
  specOf,
  Tensor,
  ValueInfo,
  withNodes,
} from '../../../graph/index.js';
import { createMessage, fromBigInt } from '../../../graph/proto/codec.js';
import type { GraphProto, ValueInfoProto } from '../../../graph/proto/schema.js';
import { constantTensor, evaluate, type RuntimeTensor, randomInputs } from '../../../runtime/index.js';
import { type BatchAxis, type BatchPlan, followBatch } from './batch-axis.js';
import { probe } from './infer-shapes.js';

/**
 * The model for another batch than the 1 that its inputs say. Exporters that know no other write the sizes of Reshape
 * and Expand down as numbers: the batch is followed through the graph, and where it is, such a size is left open. The
 * result is compared with the original on two random samples. The model itself where there is nothing to do.
 *
 * @param inputs with the sizes that are wanted
 * @throws ModelError where samples would get mixed
 */
export async function rebatched(model: Model, inputs: readonly ValueInfo[]): Promise<Model> {
  const { graph } = model;
  const batched = inputs.filter((input) => {
    const said = graph.inputs.find(({ name }) => name === input.name)?.shape?.[0];
    return said === 1 && input.shape?.[0] !== 1;
  });
  if (batched.length === 0) return model;
  const outputs = graph.outputs.map(({ name }) => name);
  const nodes = ancestors(graph.nodes, outputs);
  if (!nodes.some(bakes)) return model;
  const names = new Set(batched.map(({ name }) => name));
  const one = inputs.map((input) => (names.has(input.name) ? withBatch(input, 1) : input));
  const { shapes } = await probe(
    model,
    one,
    nodes.flatMap((node) => [...node.inputs, ...node.outputs]).filter((name) => name !== ''),
  );
  const plan = followBatch(graph, nodes, [...names], shapes);
  if (plan === undefined) return written(model, freedTarget);
  const made = written(model, (node, constant) => adapted(node, plan, shapes, constant));
  if (made !== model) await compare(model, made, one, names, plan);
  return made;
}

/**
 * The model for any batch, where it says 1 and another is wanted: `rebatched`, its inputs and outputs with an open batch. What
 * is done to the result again finds nothing left to do.
 *
 * @throws ModelError as `rebatched`
 */
export async function openedBatch(model: Model, inputs: readonly ValueInfo[]): Promise<Model> {
  return opened(await rebatched(model, inputs), inputs);
}

function opened(model: Model, inputs: readonly ValueInfo[]): Model {
  const { graph } = model;
  const isOther = inputs.some((input) => {
    const said = graph.inputs.find(({ name }) => name === input.name)?.shape?.[0];
    return typeof said === 'number' && said !== input.shape?.[0];
  });
  if (!isOther) return model;
  const open = (value: ValueInfo): ValueInfoProto => {
    const { name, dataType, shape } = value;
    const isFed = inputs.some((input) => input.name === name) || graph.isOutput(name);
    if (!isFed || dataType === undefined || shape?.[0] !== 1) return value.proto;
    return ValueInfo.tensor(name, dataType, ['batch', ...shape.slice(1)]).proto;
  };
  return createModel(
    createMessage('ModelProto', {
      ...model.proto,
      graph: createMessage('GraphProto', {
        ...(graph.proto as GraphProto),
        input: graph.inputs.map(open),
        output: graph.outputs.map(open),
        value_info: [],
      }),
    }),
  );
}

/** May a node take sizes of activations, or some of them, from constants? Half of a target may be computed. */
function bakes(node: Node): boolean {
  return (
    node.is('Reshape', 'Expand') ||
    (node.is('Concat') && node.inputs.some((input) => isConstant(findConstant(node.graph, input))))
  );
}

type Constant = (base: string, numbers: readonly number[]) => string;

/** The model with some nodes in another form, which may read new constants. */
function written(
  model: Model,
  change: (node: Node, constant: Constant) => readonly NodeProto[] | undefined,
): Model {
  const constants: Tensor[] = [];
  let count = 0;
  const constant: Constant = (base, numbers) => {
    const name = model.freshName(`grad/rebatch/${base}`);
    constants.push(Tensor.of(name, 'int64', [numbers.length], BigInt64Array.from(numbers, BigInt)));
    return name;
  };
  const nodes = model.graph.nodes.flatMap((node) => {
    const next = change(node, constant);
    if (next !== undefined) count += 1;
    return next ?? [node.proto];
  });
  if (count === 0) return model;
  return withNodes(model, nodes, constants, { value_info: [] });
}

function adapted(
  node: Node,
  plan: BatchPlan,
  shapes: ReadonlyMap<string, readonly number[]>,
  constant: Constant,
): readonly NodeProto[] | undefined {
  const label = plan.labels.get(node.outputs[0] ?? '');
  if (label === undefined) return undefined;
  if (node.is('Concat')) return repeatedOperands(node, plan, shapes, constant);
  if (!node.is('Reshape', 'Expand')) return undefined;
  const target = constantTensor(node.graph, node.inputs[1] ?? '')?.integers();
  const shape = shapes.get(node.outputs[0] ?? '');
  if (shape === undefined) return undefined;
  const sizes = [...shape];
  // -1 follows from the rest; 1 leaves a dimension as large as it is.
  sizes[label.axis] = node.is('Reshape') ? -1 : 1;
  if (node.is('Reshape') && target?.[label.axis] === -1 && !target.includes(0)) return undefined;
  return [makeNode({ ...specOf(node.proto), inputs: [node.inputs[0] ?? '', constant('shape', sizes)] })];
}

/** A Concat whose constant operands (a class token, say) come once for each sample. */
function repeatedOperands(
  node: Node,
  plan: BatchPlan,
  shapes: ReadonlyMap<string, readonly number[]>,
  constant: Constant,
): readonly NodeProto[] | undefined {
  const repeated = plan.repeated.filter((entry) => entry.node === node);
  const [first] = repeated;
  if (first === undefined) return undefined;
  const { model } = node.graph;
  const fresh = (base: string): string => model.freshName(`grad/rebatch/${base}`);
  const batched = node.inputs.find((input) => plan.labels.has(input)) ?? '';
  const rank = shapes.get(batched)?.length ?? 0;
  const [shape, batch, target] = [fresh('sizes'), fresh('batch'), fresh('target')];
  const ones = (count: number): string[] =>
    count === 0 ? [] : [constant('ones', new Array<number>(count).fill(1))];
  const nodes: NodeProto[] = [
    makeNode({ opType: 'Shape', inputs: [batched], outputs: [shape] }),
    makeNode({ opType: 'Gather', inputs: [shape, constant('axis', [first.axis])], outputs: [batch] }),
    makeNode({
      opType: 'Concat',
      inputs: [...ones(first.axis), batch, ...ones(rank - first.axis - 1)],
      outputs: [target],
      attributes: { axis: { int: 0 } },
    }),
  ];
  const inputs = [...node.inputs];
  for (const { index } of repeated) {
    const expanded = fresh('repeated');
    nodes.push(makeNode({ opType: 'Expand', inputs: [inputs[index] ?? '', target], outputs: [expanded] }));
    inputs[index] = expanded;
  }
  return [...nodes, makeNode({ ...specOf(node.proto), inputs })];
}

/** Largest difference, relative to the largest output, that rounding explains. */
const TOLERANCE = 1e-3;

/** @throws ModelError unless two samples together give what they give one by one */
async function compare(
  model: Model,
  made: Model,
  one: readonly ValueInfo[],
  batched: ReadonlySet<string>,
  { labels }: BatchPlan,
): Promise<void> {
  const two = one.map((input) => (batched.has(input.name) ? withBatch(input, 2) : input));
  const single = withInputs(model, one);
  const [first, second] = [0, 1].map((seed) => randomInputs(single, { seed })) as [Feeds, Feeds];
  const both = Object.fromEntries(
    Object.entries(first).map(([name, tensor]) => [
      name,
      batched.has(name) ? stacked(tensor, second[name] ?? tensor) : tensor,
    ]),
  );
  const alone = [
    await evaluate(single, first),
    await evaluate(single, { ...first, ...pick(second, batched) }),
  ];
  const together = await evaluate(withInputs(made, two), both);
  for (const [name, { data, shape, type }] of Object.entries(together)) {
    const label = labels.get(name);
    if (label === undefined || !type.startsWith('float') || type === 'float16') continue;
    const expected = alone.map((results) => results[name]?.data as Float32Array);
    if (differ(data as Float32Array, shape, label, expected)) {
      throw new ModelError(
        `is written for a batch of 1, and at another its output '${name}' mixes samples; export it with an open batch`,
        { file: model.path },
      );
    }
  }
}

type Feeds = Record<string, RuntimeTensor>;

function differ(
  data: Float32Array,
  shape: readonly number[],
  { axis, outer }: BatchAxis,
  expected: readonly Float32Array[],
): boolean {
  const before = shape.slice(0, axis).reduce((a, b) => a * b, outer);
  const size = data.length / before / expected.length;
  let [worst, largest] = [0, 0];
  for (let i = 0; i < before; i += 1) {
    for (const [sample, alone] of expected.entries()) {
      for (let j = 0; j < size; j += 1) {
        const wanted = alone[i * size + j] ?? Number.NaN;
        const found = data[(i * expected.length + sample) * size + j] ?? Number.NaN;
        worst = Math.max(worst, Math.abs(found - wanted));
        largest = Math.max(largest, Math.abs(wanted));
        if (Number.isNaN(found) !== Number.isNaN(wanted)) return true;
      }
    }
  }
  return worst > TOLERANCE * largest;
}

function pick(feeds: Feeds, names: ReadonlySet<string>): Feeds {
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => names.has(name)));
}

function stacked(a: RuntimeTensor, b: RuntimeTensor): RuntimeTensor {
  const data = a.data as Float32Array;
  const both = new (data.constructor as new (length: number) => Float32Array)(2 * data.length);
  both.set(data);
  both.set(b.data as Float32Array, data.length);
  return { ...a, shape: [2, ...a.shape.slice(1)], data: both };
}

function withBatch(input: ValueInfo, batch: number): ValueInfo {
  const { dataType, shape } = input;
  if (dataType === undefined || shape === undefined) return input;
  return ValueInfo.tensor(input.name, dataType, [batch, ...shape.slice(1)]);
}

function withInputs(model: Model, inputs: readonly ValueInfo[]): Model {
  const graph = model.graph.proto as GraphProto;
  const isFed = new Set(inputs.map(({ name }) => name));
  const others = (graph.input ?? []).filter(
    ({ name = '' }) => !isFed.has(name) && !model.graph.initializers.has(name),
  );
  return createModel(
    createMessage('ModelProto', {
      ...model.proto,
      // Before version 4 every initializer is an input too.
      ir_version: fromBigInt(Math.max(4, model.irVersion)),
      graph: createMessage('GraphProto', {
        ...graph,
        input: [...inputs.map(({ proto }) => proto), ...others],
        // Their sizes may be those of another batch.
        output: model.graph.outputs.map(({ name, dataType }) =>
          dataType === undefined
            ? createMessage('ValueInfoProto', { name })
            : ValueInfo.tensor(name, dataType).proto,
        ),
        value_info: [],
      }),
    }),
  );
}

/** Where a Reshape of activations names a batch of 1: with 0 in that place, which keeps what there is. */
function freedTarget(node: Node, constant: Constant): readonly NodeProto[] | undefined {
  if (!node.is('Reshape') || node.attributes.int('allowzero', 0) !== 0) return undefined;
  const target = constantTensor(node.graph, node.inputs[1] ?? '');
  if (target === undefined || target.size < 2) return undefined;
  if (isConstant(findConstant(node.graph, node.inputs[0] ?? ''))) return undefined;
  const [first, ...rest] = target.integers();
  if (first !== 1 || rest.includes(0)) return undefined;
  return [
    makeNode({ ...specOf(node.proto), inputs: [node.inputs[0] ?? '', constant('shape', [0, ...rest])] }),
  ];
}
