import {
  axisOf,
  createModel,
  dataTypeOf,
  isFloatType,
  type Model,
  ModelError,
  makeNode,
  type Node,
  type NodeSpec,
  OPERATORS,
  operatorsWith,
  specOf,
  Tensor,
  tensorProtos,
  type ValueInfo,
} from '../../../graph/index.js';
import { createMessage, fromBigInt } from '../../../graph/proto/codec.js';
import type { GraphProto } from '../../../graph/proto/schema.js';
import { at, normalAxis, product } from '../shapes.js';
import { probe } from './infer-shapes.js';
import { ownTensor } from './own-weights.js';

/** The operator set that gradients are written in, at least: the first with Col2Im, axes as inputs everywhere. */
export const OPSET = 18;
/** Before it, Add and its like broadcast by attributes. */
const OLDEST = 7;
/** The version that has none of the experimental operators any more. */
const REMOVAL = 10;
const REMOVED = [
  'Affine',
  'ATen',
  'Crop',
  'DynamicSlice',
  'GivenTensorFill',
  'GRUUnit',
  'ImageScaler',
  'ParametricSoftplus',
  'Scale',
  'ScaledTanh',
] as const;
/** The IR version that goes with the operator set. */
const IR_VERSION = 8;

interface Upgrade {
  readonly node: Node;
  readonly shapeOf: (value: string) => readonly number[] | undefined;
  ints(numbers: readonly (number | bigint)[]): string;
  floats(shape: readonly number[], numbers: readonly number[]): string;
  /** A scalar of the type of a value. */
  like(value: string, number: number): string;
  /** Whether a node, a branch or the outputs of the model read a value. */
  isRead(value: string): boolean;
  /** BatchNormalization that is written for training stays so. */
  readonly keepsTraining: boolean;
  fresh(base: string): string;
}

/** Reductions whose axes became an input in version 18. */
const REDUCTIONS = operatorsWith('rewritten').filter(
  (op) => op.startsWith('Reduce') && OPERATORS[op].rewritten?.includes(18),
);

/** Operators whose form changed up to version 18, and in which version. */
const CHANGES: Readonly<Record<string, { readonly version: number; to(upgrade: Upgrade): NodeSpec[] }>> = {
  Upsample: {
    version: 10,
    to: (upgrade) => {
      const scales = upgrade.node.attributes.floats('scales');
      const input =
        scales === undefined ? (upgrade.node.inputs[1] ?? '') : upgrade.floats([scales.length], scales);
      return [
        {
          ...without(upgrade.node, ['scales']),
          opType: 'Resize',
          inputs: [at(upgrade.node.inputs, 0), '', input],
          attributes: OLD_RESIZE,
        },
      ];
    },
  },
  Resize: {
    version: 11,
    to: ({ node }) => [
      { ...without(node, []), inputs: [at(node.inputs, 0), '', at(node.inputs, 1)], attributes: OLD_RESIZE },
    ],
  },
  Scatter: { version: 11, to: ({ node }) => [{ ...without(node, []), opType: 'ScatterElements' }] },
  Slice: {
    version: 10,
    to: (upgrade) => {
      const { attributes } = upgrade.node;
      const [starts = [], ends = []] = [attributes.bigints('starts'), attributes.bigints('ends')];
      const axes = attributes.bigints('axes') ?? [...starts.keys()];
      return moved(upgrade, ['starts', 'ends', 'axes'], [starts, ends, axes]);
    },
  },
  TopK: { version: 10, to: (upgrade) => moved(upgrade, ['k'], [[upgrade.node.attributes.int('k', 1)]]) },
  Clip: {
    version: 11,
    to: (upgrade) => {
      const { attributes } = upgrade.node;
      const bound = (name: string): string =>
        attributes.has(name) ? upgrade.like(at(upgrade.node.inputs, 0), attributes.float(name, 0)) : '';
      return [
        {
          ...without(upgrade.node, ['min', 'max']),
          inputs: [at(upgrade.node.inputs, 0), bound('min'), bound('max')],
        },
      ];
    },
  },
  Pad: {
    version: 11,
    to: (upgrade) => {
      const { attributes, inputs } = upgrade.node;
      const value = upgrade.like(at(inputs, 0), attributes.float('value', 0));
      const pads = upgrade.ints(attributes.bigints('pads') ?? []);
      return [{ ...without(upgrade.node, ['pads', 'value']), inputs: [at(inputs, 0), pads, value] }];
    },
  },
  Dropout: {
    version: 12,
    to: (upgrade) => {
      const ratio = upgrade.floats([], [upgrade.node.attributes.float('ratio', 0.5)]);
      return [
        { ...without(upgrade.node, ['ratio', 'is_test']), inputs: [at(upgrade.node.inputs, 0), ratio] },
      ];
    },
  },
  Squeeze: { version: 13, to: axesMoved },
  Unsqueeze: { version: 13, to: axesMoved },
  ReduceSum: { version: 13, to: axesMoved },
  Softmax: { version: 13, to: flattened },
  LogSoftmax: { version: 13, to: flattened },
  Hardmax: { version: 13, to: flattened },
  // The first version did not move samples by half a pixel, and had no name for it.
  RoiAlign: {
    version: 16,
    to: ({ node }) => [
      {
        ...without(node, []),
        attributes: { coordinate_transformation_mode: { string: 'output_half_pixel' } },
      },
    ],
  },
  BatchNormalization: {
    version: 14,
    to: ({ node, isRead, keepsTraining }) => {
      if (node.attributes.int('spatial', 1) === 0) {
        throw new ModelError('BatchNormalization with spatial = 0 has no form in newer operator sets', {
          node: node.label,
        });
      }
      const spec = without(node, ['spatial', 'is_test']);
      const statistics = node.outputs.slice(1).filter((name) => name !== '');
      if (!keepsTraining || statistics.length === 0) return [{ ...spec, outputs: node.outputs.slice(0, 1) }];
      if (statistics.some(isRead)) {
        throw new ModelError(
          'the statistics that a BatchNormalization in training mode gives out mean something else in newer operator sets; remove those outputs first',
          { node: node.label },
        );
      }
      const training = { training_mode: { int: 1 } };
      return [{ ...spec, outputs: node.outputs.slice(0, 3), attributes: training }];
    },
  },
  Split: {
    version: 18,
    to: (upgrade) => {
      const sizes = upgrade.node.attributes.bigints('split');
      if (sizes !== undefined) return moved(upgrade, ['split'], [sizes]);
      if (upgrade.node.inputs.length > 1) return [without(upgrade.node, [])];
      return [
        { ...without(upgrade.node, []), attributes: { num_outputs: { int: upgrade.node.outputs.length } } },
      ];
    },
  },
  ...Object.fromEntries(REDUCTIONS.map((op) => [op, { version: 18, to: axesMoved }])),
};

const OLD_RESIZE = {
  coordinate_transformation_mode: { string: 'asymmetric' },
  nearest_mode: { string: 'floor' },
} as const;

/** The spec of a node less some attributes. */
function without(node: Node, names: readonly string[]): NodeSpec {
  const spec = specOf(node.proto);
  return {
    ...spec,
    attributeProtos: (spec.attributeProtos ?? []).filter(({ name }) => !names.includes(name ?? '')),
  };
}

function moved(
  upgrade: Upgrade,
  names: readonly string[],
  lists: readonly (readonly (number | bigint)[])[],
): NodeSpec[] {
  return [
    {
      ...without(upgrade.node, names),
      inputs: [at(upgrade.node.inputs, 0), ...lists.map((list) => upgrade.ints(list))],
    },
  ];
}

function axesMoved(upgrade: Upgrade): NodeSpec[] {
  const axes = upgrade.node.attributes.bigints('axes');
  return axes === undefined ? [without(upgrade.node, [])] : moved(upgrade, ['axes'], [axes]);
}

/** Softmax over all axes from `axis` on, which is what it meant before version 13. */
function flattened(upgrade: Upgrade): NodeSpec[] {
  const { node } = upgrade;
  const shape = upgrade.shapeOf(node.inputs[0] ?? '') ?? [];
  const axis = normalAxis(axisOf(node), shape.length);
  const spec = without(node, ['axis']);
  if (product(shape.slice(axis + 1)) === 1) return [{ ...spec, attributes: { axis: { int: axis } } }];
  const [flat, soft] = [upgrade.fresh(`${node.label}/flat`), upgrade.fresh(`${node.label}/soft`)];
  return [
    { opType: 'Flatten', inputs: node.inputs, outputs: [flat], attributes: { axis: { int: axis } } },
    { ...spec, inputs: [flat], outputs: [soft], attributes: { axis: { int: -1 } } },
    { opType: 'Reshape', inputs: [soft, upgrade.ints(shape)], outputs: node.outputs },
  ];
}

/**
 * The model in operator set 18 or, where it has a newer one, in that. The given model stays as it is; the new one
 * shares its weights.
 *
 * @param options.keepsTraining leave BatchNormalization that is written for training in that mode; default false: as all others
 * @throws ModelError for operator sets before 7, operators that the newer set no longer has, and subgraphs and functions with operators that would have to change
 */
export async function upgraded(
  model: Model,
  inputs: readonly ValueInfo[],
  { keepsTraining = false }: { readonly keepsTraining?: boolean } = {},
): Promise<Model> {
  const from = model.opset();
  const { graph } = model;
  if (from !== 0 && from < OLDEST) {
    throw new ModelError(
      `operator set ${from} is older than ${OLDEST}, the oldest that is raised to newer ones here; export the model again, or raise it by onnx.version_converter`,
      { file: model.path },
    );
  }
  const removed = from < REMOVAL ? [...model.nodes()].find((node) => node.is(...REMOVED)) : undefined;
  if (removed !== undefined) {
    throw new ModelError(
      `${removed.opType} was removed from the standard in operator set ${REMOVAL}, and the model would be raised to ${OPSET}; replace it by operators of today first`,
      { file: model.path, node: removed.label },
    );
  }
  const changeOf = (node: Node) =>
    node.domain === '' && Object.hasOwn(CHANGES, node.opType) && from < (CHANGES[node.opType]?.version ?? 0)
      ? CHANGES[node.opType]
      : undefined;
  if (from < OPSET) refuseInner(model, (node) => changeOf(node) !== undefined);
  const soft = graph.nodes.filter(
    (node) => node.is('Softmax', 'LogSoftmax', 'Hardmax') && changeOf(node) !== undefined,
  );
  const { shapes } = await probe(
    model,
    inputs,
    soft.flatMap((node) => node.inputs.slice(0, 1)),
  );
  const initializers: Tensor[] = [];
  const constant = (make: (name: string) => Tensor): string => {
    const tensor = make(model.freshName('grad/upgrade/constant'));
    initializers.push(tensor);
    return tensor.name;
  };
  const isSingle = !hasOtherFloats(model);
  const nodes = graph.nodes.flatMap((node) => {
    const held = ownTensor(node);
    if (held !== undefined) {
      initializers.push(held.renamed(at(node.outputs, 0)));
      return [];
    }
    const change = changeOf(node);
    if (change === undefined) return [node.proto];
    const casts: NodeSpec[] = [];
    const floats = (shape: readonly number[], numbers: readonly number[]): string =>
      constant((name) => Tensor.of(name, 'float32', shape, Float32Array.from(numbers)));
    const specs = change.to({
      node,
      keepsTraining,
      isRead: (value) => graph.uses(value).length > 0 || graph.isOutput(value),
      like: (value, number) => {
        const single = floats([], [number]);
        if (isSingle) return single;
        const output = model.freshName(`${single}/cast`);
        casts.push({ opType: 'CastLike', inputs: [single, value], outputs: [output] });
        return output;
      },
      floats,
      shapeOf: (value) => shapes.get(value),
      ints: (numbers) => constant((name) => int64s(name, numbers)),
      fresh: (base) => model.freshName(base),
    });
    return [...casts, ...specs].map(makeNode);
  });
  const imports = (model.proto.opset_import ?? []).filter(({ domain }) => domain && domain !== 'ai.onnx');
  return createModel(
    createMessage('ModelProto', {
      ...model.proto,
      ir_version: fromBigInt(Math.max(model.irVersion, IR_VERSION)),
      opset_import: [
        createMessage('OperatorSetIdProto', { domain: '', version: fromBigInt(Math.max(from, OPSET)) }),
        ...imports,
      ],
      training_info: [],
      graph: createMessage('GraphProto', {
        ...(graph.proto as GraphProto),
        node: nodes,
        input: inputs.map((input) => input.proto),
        initializer: [...graph.initializers.values(), ...initializers].map((tensor) => tensor.proto),
        // Their sizes may be those of another batch.
        value_info: [],
      }),
    }),
  );
}

/** Whether any value may be of another floating-point type than float32. */
function hasOtherFloats(model: Model): boolean {
  const isOther = (type: string | undefined): boolean =>
    type !== undefined && type !== 'float32' && isFloatType(type);
  return (
    [...tensorProtos(model.proto)].some(({ data_type: code }) => isOther(dataTypeOf(code ?? 0))) ||
    model.graph.inputs.some(({ dataType }) => isOther(dataType)) ||
    [...model.nodes()].some((node) => node.is('Cast') && isOther(dataTypeOf(node.attributes.int('to', 1))))
  );
}

function int64s(name: string, numbers: readonly (number | bigint)[]): Tensor {
  return Tensor.of(name, 'int64', [numbers.length], BigInt64Array.from(numbers.map(BigInt)));
}

function refuseInner(model: Model, changes: (node: Node) => boolean): void {
  for (const node of model.nodes()) {
    if (node.graph !== model.graph && node.graph.kind === 'graph' && changes(node)) {
      throw new ModelError(
        `${node.opType} in a subgraph has another form in operator set ${OPSET}, and subgraphs are not rewritten; export the model again in that operator set, or raise it by onnx.version_converter`,
        { file: model.path, node: node.label },
      );
    }
  }
}
