import { LINEAR_OPS, type LinearSite, linearSite } from '../../affine/linear-sites.js';
import { inlineCalls } from '../../graph/edit/inline-functions.js';
import {
  assertFits,
  type FloatType,
  findConstant,
  type Graph,
  isConstant,
  type Model,
  ModelError,
  type Node,
  narrow,
  Tensor,
  ValueInfo,
} from '../../graph/index.js';
import { checkOptions, type OptionDescriptors } from '../../graph/option-descriptors.js';
import type { GraphProto, ValueInfoProto } from '../../graph/proto/schema.js';
import { Random } from '../../runtime/index.js';

/** Options of replaceHead. */
export interface HeadOptions {
  /** Outputs of the fresh layer. */
  readonly outputs: number;
  /** The output of the model that it makes; default the first. */
  readonly output?: string | undefined;
  /** Of its weights; default 0. */
  readonly seed?: number | undefined;
}

const HEAD_OPTIONS = {
  outputs: { kind: 'integer', min: 1, help: 'outputs of the fresh layer' },
  seed: { kind: 'integer', min: 0, default: 0, help: 'seed of its weights' },
} as const satisfies OptionDescriptors;

/** What replaceHead returns. */
export interface HeadAccount {
  /** The node whose weights are fresh. */
  readonly node: string;
  /** The initializers that hold them, the bias last where there is one. */
  readonly weights: readonly string[];
  /** Outputs that it had. */
  readonly before: number;
  /** Calls of the model's own functions that gave way to their nodes, the last layer among them. */
  readonly calls: readonly string[];
}

/** What may lie between the last layer and the output: it keeps the axis of the outputs. */
const BEHIND = [
  'Identity',
  'Cast',
  'Softmax',
  'LogSoftmax',
  'Sigmoid',
  'Tanh',
  'Relu',
  'Flatten',
  'Squeeze',
  'Reshape',
  'GlobalAveragePool',
  'Dropout',
  'Add',
] as const;

/**
 * Puts a fresh last layer of another number of outputs in the place of a model's: a classifier of 1000 classes becomes one of 3,
 * to be trained on them. Its weights are normal with the deviation 1 / sqrt(fan-in) (LeCun et al. 1998), its bias is zero. All
 * else stays.
 *
 * @throws OptionError for options out of range; ModelError, before anything changes, where the last layer is not found or something behind it counts on its outputs
 * @example
 * const { before } = replaceHead(model, { outputs: 3 });
 */
export function replaceHead(model: Model, options: HeadOptions): HeadAccount {
  checkOptions(HEAD_OPTIONS, options);
  const name = options.output ?? model.graph.outputs[0]?.name ?? '';
  const shown = (copy: Model): string[] =>
    inlineCalls(copy, ({ graph }) => {
      const { site, between } = lastLayer(graph, name);
      return [site.node, ...between].map((node) => [node]);
    });
  // What is wrong is said before the model changes.
  if (model.functions.length > 0) {
    const trial = model.clone();
    shown(trial);
    replaceLayer(trial, name, options);
  }
  const calls = shown(model);
  return { ...replaceLayer(model, name, options), calls };
}

function replaceLayer(
  model: Model,
  name: string,
  { outputs, seed = 0 }: HeadOptions,
): Omit<HeadAccount, 'calls'> {
  const { graph, path } = model;
  const { site, between } = lastLayer(graph, name);
  const { node } = site;
  const fail = (what: string): ModelError => new ModelError(what, { file: path, node: node.label });
  const weight = graph.initializers.get(site.weight.root?.name ?? '');
  if (
    weight === undefined ||
    graph.uses(weight.name).length > 1 ||
    node.inputs[site.weightInput] !== weight.name
  )
    throw fail('the weight of the last layer is no initializer of its own, so it gets no fresh one');
  if (site.groups > 1)
    throw fail('the last layer is a convolution in groups, so it gets no other number of outputs');
  const axis = outputAxis(site);
  const before = weight.shape[axis] ?? 0;
  const type = weight.dataType as FloatType;
  const fresh = [drawn(weight, axis, outputs, type, seed)];
  const adds = between.filter((one) => one.is('Add'));
  if (adds.length > 1)
    throw fail('more than one sum lies behind the last layer, so none of them is its bias');
  const biasName =
    adds[0] === undefined
      ? (node.inputs[2] ?? '')
      : (adds[0].inputs.find((input) => graph.initializers.has(input)) ?? '');
  const bias = graph.initializers.get(biasName);
  if (biasName !== '' && (bias === undefined || graph.uses(biasName).length > 1))
    throw fail(`the bias '${biasName}' of the last layer is no initializer of its own`);
  if (bias !== undefined && bias.size > 1) {
    if (bias.size !== before)
      throw fail(`the bias '${biasName}' has ${bias.size} elements for ${before} outputs`);
    const shape = bias.shape.map((dim) => (dim === before ? outputs : dim));
    fresh.push(
      Tensor.of(
        biasName,
        bias.dataType,
        shape,
        narrow(bias.dataType as FloatType, new Float64Array(outputs)),
      ),
    );
  }
  for (const one of between) {
    if (!one.is('Reshape')) continue;
    const shape = findConstant(graph, one.inputs[1] ?? '');
    const tensor = isConstant(shape) ? shape.root : undefined;
    const sizes = tensor?.integers();
    if (
      tensor === undefined ||
      sizes === undefined ||
      !graph.initializers.has(tensor.name) ||
      graph.uses(tensor.name).length > 1
    ) {
      if (sizes?.includes(before) === false && sizes.includes(-1)) continue;
      throw fail(
        `Reshape '${one.label}' behind the last layer has a shape of its own that cannot be changed`,
      );
    }
    const places = sizes.filter((size) => size === before).length;
    if (places > 1)
      throw fail(`Reshape '${one.label}' behind the last layer has ${before} twice in its shape`);
    fresh.push(
      Tensor.of(
        tensor.name,
        'int64',
        tensor.shape,
        BigInt64Array.from(sizes, (size) => BigInt(size === before ? outputs : size)),
      ),
    );
  }
  graph.edit({ setInitializers: fresh });
  retype(graph, [node, ...between], before, outputs);
  return { node: node.label, weights: [weight.name, ...(bias === undefined ? [] : [biasName])], before };
}

/** The linear layer that makes an output, and the nodes behind it, the next first. */
function lastLayer(
  graph: Graph,
  output: string,
): { readonly site: LinearSite; readonly between: readonly Node[] } {
  const file = graph.model.path;
  const between: Node[] = [];
  for (let value = output; ; ) {
    const node = graph.producer(value);
    if (node === undefined) throw new ModelError(`no layer makes the output '${output}'`, { file });
    const op = LINEAR_OPS.find((one) => node.is(one));
    if (op !== undefined) {
      const site = linearSite(node, op);
      if ('reason' in site)
        throw new ModelError(`the last layer gets no fresh weights: ${site.reason}`, {
          file,
          node: node.label,
        });
      return { site, between };
    }
    if (!node.is(...BEHIND))
      throw new ModelError(
        `${node.opType} stands between the last layer and the output '${output}', so a fresh layer might not fit`,
        { file, node: node.label },
      );
    between.unshift(node);
    const data = node.inputs.filter((input) => input !== '' && !graph.initializers.has(input));
    value = (node.is('Add') ? data[0] : node.inputs[0]) ?? '';
    if (node.is('Add') && data.length !== 1)
      throw new ModelError(
        'a sum of two branches stands behind the last layer, so a fresh layer might not fit',
        { file, node: node.label },
      );
  }
}

/** The axis of a weight that counts the outputs of its layer. */
function outputAxis({ op, orientation, weight, weightInput }: LinearSite): number {
  const rank = weight.shape.length;
  if (op === 'Conv') return 0;
  if (op === 'ConvTranspose') return 1;
  if (op === 'MatMul') return weightInput === 0 ? rank - 2 : rank - 1;
  return orientation === 'out-in' ? 0 : 1;
}

function drawn(weight: Tensor, axis: number, outputs: number, type: FloatType, seed: number): Tensor {
  const shape = weight.shape.map((dim, index) => (index === axis ? outputs : dim));
  const size = shape.reduce((product, dim) => product * dim, 1);
  assertFits(8 * size, 'a fresh weight of this size', { tensor: weight.name });
  const values = new Random(seed, `head ${weight.name}`).fillNormal(new Float64Array(size));
  const deviation = 1 / Math.sqrt(size / outputs);
  return Tensor.of(
    weight.name,
    type,
    shape,
    narrow(
      type,
      values.map((value) => value * deviation),
    ),
  );
}

/** Says the new number of outputs wherever the file said the old. */
function retype(graph: Graph, nodes: readonly Node[], before: number, outputs: number): void {
  const made = new Set(nodes.flatMap((node) => node.outputs));
  const proto = graph.proto as GraphProto;
  const changed = (entry: ValueInfoProto): ValueInfoProto => {
    const { name, dataType, shape } = new ValueInfo(entry);
    if (!made.has(name) || dataType === undefined || shape === undefined) return entry;
    const axis = shape.indexOf(before, 1);
    return ValueInfo.tensor(
      name,
      dataType,
      shape.map((dim, index) => (index === axis ? outputs : dim)),
    ).proto;
  };
  if (proto.output) proto.output = proto.output.map(changed);
  if (proto.value_info) proto.value_info = proto.value_info.map(changed);
  graph.touch();
}
