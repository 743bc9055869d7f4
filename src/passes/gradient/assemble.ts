import {
  ancestors,
  byteLengthOf,
  createModel,
  createNode,
  type Model,
  ModelError,
  makeNode,
  type Node,
  type NodeSpec,
  type Tensor,
  ValueInfo,
  valuesRead,
} from '../../graph/index.js';
import { createMessage, fromBigInt } from '../../graph/proto/codec.js';
import type { GraphProto, OperatorSetIdProto } from '../../graph/proto/schema.js';
import { BLOCKED_DOMAIN } from '../../runtime/index.js';
import type { Builder } from './builder.js';
import type { Forward } from './forward.js';
import type { LossPiece } from './losses.js';
import { peakBytes } from './memory/peak.js';
import { recomputed } from './memory/recompute.js';
import type { Gradient, GradientOptions } from './request.js';
import { product } from './shapes.js';
import type { MatrixProduct } from './types.js';
import type { Value } from './value.js';

interface Parts {
  readonly base: Model;
  readonly inputs: readonly ValueInfo[];
  readonly build: Builder;
  readonly forward: Forward;
  readonly piece: LossPiece;
  readonly prediction: Value;
  valueNamed(name: string): Value;
  readonly found: ReadonlyMap<string, Value>;
  readonly products: ReadonlyMap<string, MatrixProduct>;
  readonly wrt: readonly string[];
  readonly options: GradientOptions;
}

/** The nodes that something reads, the constants they read, and the inputs and outputs by their names. */
export function assemble({
  base,
  inputs,
  build,
  forward,
  piece,
  prediction,
  valueNamed,
  found,
  products,
  wrt,
  options,
}: Parts): Gradient {
  const { graph } = base;
  const last: NodeSpec[] = [];
  /** A name of its own for an output. */
  const output = (value: Value, name: string): ValueInfo => {
    const fresh = base.freshName(name);
    last.push({ opType: 'Identity', inputs: [value.name], outputs: [fresh], name: fresh });
    return ValueInfo.tensor(fresh, value.type, value.shape);
  };
  const loss = output(piece.loss, 'loss');
  const gradients = new Map([...found].map(([name, value]) => [name, output(value, `grad/${name}`)]));
  const state = new Map(forward.state.map(([name, value]) => [name, output(value, `next/${name}`)]));
  const isMade = graph.producer(prediction.name) !== undefined;
  const predicted = ValueInfo.tensor(prediction.name, prediction.type, prediction.shape);
  const outputs = [loss, ...(isMade ? [predicted] : []), ...gradients.values(), ...state.values()];

  const backward = build.nodes.splice(0);
  const all = [...forward.protos, ...[...backward, ...last].map(makeNode)].map((proto) =>
    createNode(proto, graph),
  );
  const leaving = outputs.map(({ name }) => name);
  const bytesOf = (name: string) => bytesOfValue(valueNamed, name);
  const plain = ancestors(all, leaving);
  const nodes = options.checkpointing
    ? recomputed({
        nodes: plain,
        forward: new Set(forward.protos),
        outputs: leaving,
        fed: [...inputs, ...(piece.target ? [piece.target] : []), ...(build.masks ?? [])].map(
          ({ name }) => name,
        ),
        valueNamed,
        bytesOf,
        build,
        fresh: (name) => base.freshName(name),
      })
    : plain;
  const isFed = options.weights !== 'constants';
  const fed = new Set(isFed ? [...wrt, ...state.keys()].filter((name) => graph.initializers.has(name)) : []);
  const read = new Set(nodes.flatMap((node) => [...valuesRead(node.proto)]));
  const weights = new Map(
    [...fed].flatMap((name) => {
      const tensor = graph.initializers.get(name);
      return tensor === undefined || !read.has(name) ? [] : [[name, tensor] as const];
    }),
  );
  const weightInputs = [...weights.values()].map(({ name, dataType, shape }) =>
    ValueInfo.tensor(name, dataType, shape),
  );
  const target = piece.target && ValueInfo.tensor(piece.target.name, piece.target.type, piece.target.shape);
  const fedMasks = (build.masks ?? []).filter(({ name }) => read.has(name));
  const masks = fedMasks.map(({ name, type, shape }) => ValueInfo.tensor(name, type, shape));
  const constants = [...graph.initializers.values(), ...build.constants].filter(
    ({ name }) => read.has(name) && !fed.has(name),
  );
  const made = createModel(
    createMessage('ModelProto', {
      ...base.proto,
      opset_import: imports(base, nodes),
      graph: createMessage('GraphProto', {
        ...(graph.proto as GraphProto),
        node: nodes.map((node) => node.proto),
        input: [...inputs, ...(target ? [target] : []), ...weightInputs, ...masks]
          .filter(({ name }) => read.has(name))
          .map((value) => value.proto),
        output: outputs.map((value) => value.proto),
        initializer: constants.map((tensor: Tensor) => tensor.proto),
      }),
    }),
  );
  const names = (values: ReadonlyMap<string, ValueInfo>) =>
    new Map([...values].map(([key, value]) => [key, value.name]));
  return {
    model: made,
    loss: loss.name,
    prediction: prediction.name,
    target: target?.name,
    gradients: names(gradients),
    // The factors of a product would have to stay until the update.
    products: options.checkpointing ? new Map() : products,
    state: names(state),
    weights,
    masks: fedMasks,
    unreached: wrt.filter((name) => !found.has(name)),
    peakBytes: peakBytes(nodes, bytesOf, leaving),
  };
}

/** The bytes of a value; undefined of one whose shape nobody needed to know. */
function bytesOfValue(valueNamed: Parts['valueNamed'], name: string): number | undefined {
  try {
    const { type, shape } = valueNamed(name);
    return byteLengthOf(type, product(shape));
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}

/** The operator sets of the model, and onnxruntime's own where nodes are of them. */
function imports(base: Model, nodes: readonly Node[]): OperatorSetIdProto[] {
  const known = base.proto.opset_import ?? [];
  if (!nodes.some(({ domain }) => domain === BLOCKED_DOMAIN) || base.opset(BLOCKED_DOMAIN) > 0) return known;
  return [...known, createMessage('OperatorSetIdProto', { domain: BLOCKED_DOMAIN, version: fromBigInt(1) })];
}
