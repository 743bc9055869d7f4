/** Random valid models, as trees that encodeTree turns into bytes. All seeded through fast-check. */
import fc from 'fast-check';
import { DATA_TYPES, type DataType } from '../../src/graph/index.js';
import { delimited, encodeTree, join, type Tree, UNKNOWN, varint } from './wire.js';

/** A source of random choices: `draw(6)` is an integer below 6. */
export type Draw = (limit: number) => number;

/** mulberry32: a small generator whose stream one integer seeds. */
export function drawFrom(seed: number): Draw {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

const TYPES = (Object.keys(DATA_TYPES) as DataType[]).filter((type) => type !== 'undefined');
const INT64 = [0n, 1n, -1n, 7n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)];
const FLOATS = [
  0,
  -0,
  1,
  -1.5,
  0.1,
  3.4028234663852886e38,
  1e-45,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
].map(Math.fround);
const TEXTS = ['', 'a', 'ключ', '日本', 'with space', 'new\nline', '𝄞', 'quote\'"', '/layer.0/weight'];

export type Storage = 'raw' | 'typed';

export interface TensorDraft {
  readonly tree: Tree;
  /** The elements as raw_data would hold them; undefined for strings. */
  readonly bytes: Uint8Array | undefined;
  readonly type: DataType;
  readonly shape: readonly number[];
}

function pick<T>(draw: Draw, list: readonly T[]): T {
  return list[draw(list.length)] as T;
}

/** A tensor of random elements, with its raw bytes beside it. */
export function drawTensor(
  draw: Draw,
  name: string,
  options: { type?: DataType; shape?: readonly number[]; storage?: Storage } = {},
): TensorDraft {
  const type = options.type ?? pick(draw, TYPES);
  const shape = options.shape ?? Array.from({ length: draw(4) }, () => (draw(12) === 0 ? 0 : 1 + draw(3)));
  const size = shape.reduce((a, b) => a * b, 1);
  const tree: Tree = { dims: shape.map(BigInt), data_type: DATA_TYPES[type].code };
  if (name !== '' || draw(2)) tree.name = name;
  if (draw(6) === 0) tree.doc_string = pick(draw, TEXTS);
  if (draw(5) === 0) tree.metadata_props = entries(draw);
  if (draw(20) === 0) tree.segment = { begin: 0n, end: 0n };
  drawUnknown(draw, tree);
  if (type === 'string') {
    tree.string_data = Array.from({ length: size }, () =>
      draw(3) ? new TextEncoder().encode(pick(draw, TEXTS)) : Uint8Array.of(255, 0, draw(256)),
    );
    return { tree, bytes: undefined, type, shape };
  }
  const { bits, field } = DATA_TYPES[type];
  const bytes = Uint8Array.from({ length: Math.ceil((bits * size) / 8) }, () => draw(256));
  if (type === 'bool') for (const [index, byte] of bytes.entries()) bytes[index] = byte & 1;
  if (type === 'float32' || type === 'complex64') clearNaN(bytes, 4);
  if (type === 'float64' || type === 'complex128') clearNaN(bytes, 8);
  const used = (bits * size) % 8;
  if (used > 0) bytes[bytes.length - 1] = (bytes.at(-1) as number) & ((1 << used) - 1);
  if ((options.storage ?? (draw(2) ? 'raw' : 'typed')) === 'raw') tree.raw_data = bytes;
  else tree[field as string] = typedValues(type, bytes);
  return { tree, bytes, type, shape };
}

/** A NaN does not survive every decoder bit by bit. */
function clearNaN(bytes: Uint8Array, width: number): void {
  for (let at = width - 1; at < bytes.length; at += width) bytes[at] = (bytes[at] as number) & 0xbf;
}

/** What the typed field of a type holds for the elements in `bytes`. */
export function typedValues(type: DataType, bytes: Uint8Array): (number | bigint)[] {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  const every = <T>(width: number, read: (at: number) => T): T[] =>
    Array.from({ length: copy.length / width }, (_, index) => read(index * width));
  switch (type) {
    case 'float32':
    case 'complex64':
      return every(4, (at) => view.getFloat32(at, true));
    case 'float64':
    case 'complex128':
      return every(8, (at) => view.getFloat64(at, true));
    case 'int64':
      return every(8, (at) => view.getBigInt64(at, true));
    case 'uint64':
      return every(8, (at) => view.getBigUint64(at, true));
    case 'uint32':
      return every(4, (at) => BigInt(view.getUint32(at, true)));
    case 'int32':
      return every(4, (at) => view.getInt32(at, true));
    case 'int16':
      return every(2, (at) => view.getInt16(at, true));
    case 'uint16':
    case 'float16':
    case 'bfloat16':
      return every(2, (at) => view.getUint16(at, true));
    case 'int8':
      return every(1, (at) => view.getInt8(at));
    default:
      // Bytes, and packed sub-byte elements: one byte in each int32.
      return [...copy];
  }
}

function entries(draw: Draw): Tree[] {
  return Array.from({ length: 1 + draw(2) }, (_, index) => ({
    key: `k${index}${pick(draw, TEXTS)}`,
    value: pick(draw, TEXTS),
  }));
}

function drawUnknown(draw: Draw, tree: Tree): void {
  if (draw(12) !== 0) return;
  tree[UNKNOWN] = Array.from({ length: 1 + draw(3) }, () => {
    const number = 1000 + draw(3);
    switch (draw(4)) {
      case 0:
        return join([varint(BigInt(number * 8)), varint(2n ** BigInt(draw(64)))]);
      case 1:
        return join([varint(BigInt(number * 8 + 1)), Uint8Array.from({ length: 8 }, () => draw(256))]);
      case 2:
        return join([varint(BigInt(number * 8 + 5)), Uint8Array.from({ length: 4 }, () => draw(256))]);
      default:
        return delimited(
          number,
          Uint8Array.from({ length: draw(9) }, () => draw(256)),
        );
    }
  });
}

function drawType(draw: Draw, depth = 0): Tree {
  const type: Tree = {};
  switch (depth > 2 ? 0 : draw(8)) {
    case 1:
      type.sequence_type = { elem_type: drawType(draw, depth + 1) };
      break;
    case 2:
      type.map_type = { key_type: 7, value_type: drawType(draw, depth + 1) };
      break;
    case 3:
      type.optional_type = { elem_type: drawType(draw, depth + 1) };
      break;
    case 4:
      type.opaque_type = { domain: 'd', name: pick(draw, TEXTS) };
      break;
    case 5:
      type.sparse_tensor_type = { elem_type: 1, shape: drawShape(draw) };
      break;
    default:
      type.tensor_type = {
        elem_type: DATA_TYPES[pick(draw, TYPES)].code,
        ...(draw(4) ? { shape: drawShape(draw) } : {}),
      };
  }
  if (draw(8) === 0) type.denotation = 'TENSOR';
  drawUnknown(draw, type);
  return type;
}

function drawShape(draw: Draw): Tree {
  return {
    dim: Array.from({ length: draw(4) }, () => {
      const dim: Tree =
        draw(3) === 0 ? { dim_param: 'batch' } : draw(4) === 0 ? {} : { dim_value: BigInt(draw(5)) };
      if (draw(6) === 0) dim.denotation = 'DATA_BATCH';
      return dim;
    }),
  };
}

/** Names given out in one model; none twice. */
class Names {
  #count = 0;
  next(prefix: string): string {
    this.#count += 1;
    return `${prefix}${this.#count}`;
  }
}

interface Scope {
  readonly draw: Draw;
  readonly names: Names;
  readonly readable: string[];
  readonly isFunction: boolean;
  readonly calls: readonly Tree[];
}

function drawAttribute(scope: Scope, name: string, depth: number): Tree {
  const { draw } = scope;
  const many = <T>(make: () => T): T[] => Array.from({ length: draw(4) }, make);
  const tensor = (): Tree => drawTensor(draw, draw(2) ? 't' : '').tree;
  const tree: Tree = { name };
  if (draw(8) === 0) tree.doc_string = pick(draw, TEXTS);
  drawUnknown(draw, tree);
  if (scope.isFunction && draw(5) === 0) return { ...tree, ref_attr_name: 'alpha', type: 1 };
  const kinds: (() => Tree)[] = [
    () => ({ type: 1, f: pick(draw, FLOATS) }),
    () => ({ type: 2, i: pick(draw, INT64) }),
    () => ({
      type: 3,
      s: draw(2) ? new TextEncoder().encode(pick(draw, TEXTS)) : Uint8Array.of(0xff, 0xfe, 0),
    }),
    () => ({ type: 4, t: tensor() }),
    () => ({ type: 6, floats: many(() => pick(draw, FLOATS)) }),
    () => ({ type: 7, ints: many(() => pick(draw, INT64)) }),
    () => ({ type: 8, strings: many(() => new TextEncoder().encode(pick(draw, TEXTS))) }),
    () => ({ type: 9, tensors: many(tensor) }),
    () => ({ type: 11, sparse_tensor: drawSparse(draw, '') }),
    () => ({ type: 12, sparse_tensors: many(() => drawSparse(draw, '')) }),
    () => ({ type: 13, tp: drawType(draw) }),
    () => ({ type: 14, type_protos: many(() => drawType(draw)) }),
    () => ({ type: 10, graphs: depth < 2 ? many(() => drawBody(scope, depth + 1)) : [] }),
  ];
  return { ...tree, ...pick(draw, kinds)() };
}

function drawSparse(draw: Draw, name: string): Tree {
  const count = draw(3);
  return {
    values: drawTensor(draw, name, { type: 'float32', shape: [count] }).tree,
    indices: drawTensor(draw, '', { type: 'int64', shape: [count, 2] }).tree,
    dims: [5n, 7n],
  };
}

/** A subgraph that reads values of the graphs around it. */
function drawBody(scope: Scope, depth: number, inputs: readonly string[] = []): Tree {
  const readable = [...scope.readable, ...inputs];
  const inner = { ...scope, readable };
  const own: string[] = [];
  const graph: Tree = { name: scope.names.next('body') };
  if (scope.draw(3) === 0) {
    const name = scope.names.next('c');
    graph.initializer = [drawTensor(scope.draw, name).tree];
    readable.push(name);
  }
  graph.node = Array.from({ length: 1 + scope.draw(2) }, () => drawNode(inner, depth, own));
  graph.input = inputs.map((name) => ({ name, type: drawType(scope.draw) }));
  graph.output = [{ name: own.at(-1) as string, ...(scope.draw(2) ? { type: drawType(scope.draw) } : {}) }];
  return graph;
}

function drawNode(scope: Scope, depth: number, own: string[]): Tree {
  const { draw, names, readable } = scope;
  const read = (): string => (draw(10) === 0 ? '' : pick(draw, readable));
  const output = names.next('v');
  const tree: Tree = {
    input: Array.from({ length: 1 + draw(3) }, read),
    output: [output],
    op_type: 'Op',
    domain: 'test',
  };
  if (draw(4)) tree.name = names.next('node');
  if (draw(5) === 0) tree.doc_string = pick(draw, TEXTS);
  if (draw(5) === 0) tree.metadata_props = entries(draw);
  if (draw(10) === 0) (tree.output as string[]).push('', names.next('v'));
  const kind = draw(8);
  if (kind === 0 && depth < 2) {
    Object.assign(tree, { op_type: 'If', domain: '', input: [pick(draw, readable)] });
    tree.attribute = ['then_branch', 'else_branch'].map((name) => ({
      name,
      type: 5,
      g: drawBody(scope, depth + 1),
    }));
  } else if (kind === 1 && depth < 2) {
    Object.assign(tree, {
      op_type: 'Loop',
      domain: 'ai.onnx',
      input: ['', pick(draw, readable), pick(draw, readable)],
    });
    const inputs = ['iteration', 'condition', 'state'].map((name) => names.next(name));
    tree.attribute = [{ name: 'body', type: 5, g: drawBody(scope, depth + 1, inputs) }];
  } else if (kind === 2 && scope.calls.length > 0) {
    const body = pick(draw, scope.calls);
    Object.assign(tree, { op_type: body.name, domain: body.domain, overload: body.overload });
  } else {
    tree.attribute = Array.from({ length: draw(4) }, (_, index) =>
      drawAttribute(scope, `attribute${index}`, depth),
    );
  }
  if (draw(15) === 0) {
    tree.device_configurations = [
      {
        configuration_id: 'two',
        pipeline_stage: 1,
        sharding_spec: [
          {
            tensor_name: output,
            device: [0n, 1n],
            index_to_device_group_map: [{ key: 0n, value: [0n, 1n] }],
            sharded_dim: [{ axis: 0n, simple_sharding: [{ dim_value: 4n, num_shards: 2n }] }],
          },
        ],
      },
    ];
  }
  drawUnknown(draw, tree);
  for (const name of tree.output as string[]) if (name !== '') readable.push(name);
  own.push(output);
  return tree;
}

const opsets = (): Tree[] => [
  { version: 17n },
  { domain: 'test', version: 1n },
  { domain: 'local', version: 1n },
];

function drawFunctions(draw: Draw, names: Names): Tree[] {
  const bodies: Tree[] = [];
  for (const overload of ['', 'fast', 'small'].slice(0, draw(4))) {
    const readable = [names.next('in'), names.next('in')];
    const input = [...readable];
    const own: string[] = [];
    const scope: Scope = { draw, names, readable, isFunction: true, calls: [...bodies] };
    const node = Array.from({ length: 1 + draw(3) }, () => drawNode(scope, 1, own));
    const body: Tree = {
      name: 'Twice',
      domain: 'local',
      input,
      output: [own.at(-1) as string],
      node,
      opset_import: opsets(),
    };
    body.attribute = ['alpha'];
    if (overload !== '' || draw(2)) body.overload = overload;
    if (draw(2)) body.attribute_proto = [{ name: 'beta', type: 2, i: pick(draw, INT64) }];
    if (draw(3) === 0) body.value_info = [{ name: own[0] as string, type: drawType(draw) }];
    if (draw(3) === 0) body.metadata_props = entries(draw);
    drawUnknown(draw, body);
    bodies.push(body);
  }
  return bodies;
}

/** A valid model: every name resolves, nodes are in order, data fills its shapes. */
export function drawModel(draw: Draw): Tree {
  const names = new Names();
  const functions = drawFunctions(draw, names);
  const inputs = Array.from({ length: 1 + draw(2) }, () => names.next('x'));
  const initializer = Array.from({ length: draw(4) }, () => drawTensor(draw, names.next('w')).tree);
  const sparse = draw(4) === 0 ? [drawSparse(draw, names.next('s'))] : [];
  const readable = [
    ...inputs,
    ...[...initializer, ...sparse.map(({ values }) => values as Tree)].map(({ name }) => name as string),
  ];
  const own: string[] = [];
  const scope: Scope = { draw, names, readable, isFunction: false, calls: functions };
  const node = Array.from({ length: 1 + draw(6) }, () => drawNode(scope, 0, own));
  const graph: Tree = {
    node,
    name: pick(draw, TEXTS),
    initializer,
    sparse_initializer: sparse,
    input: inputs.map((name) => ({
      name,
      type: drawType(draw),
      ...(draw(4) ? {} : { metadata_props: entries(draw) }),
    })),
    output: [{ name: own.at(-1) as string, type: drawType(draw) }],
    value_info: draw(2)
      ? own.slice(0, -1).map((name) => ({ name, type: drawType(draw), doc_string: 'inner' }))
      : [],
  };
  if (draw(4) === 0) {
    graph.quantization_annotation = [
      {
        tensor_name: own[0] as string,
        quant_parameter_tensor_names: [{ key: 'SCALE_TENSOR', value: readable[0] as string }],
      },
    ];
  }
  if (draw(3) === 0) graph.metadata_props = entries(draw);
  drawUnknown(draw, graph);
  const model: Tree = { ir_version: 10n, opset_import: opsets(), graph, functions };
  if (draw(2))
    Object.assign(model, {
      producer_name: 'test',
      producer_version: pick(draw, TEXTS),
      domain: 'org.example',
    });
  if (draw(2))
    Object.assign(model, {
      model_version: pick(draw, INT64),
      doc_string: pick(draw, TEXTS),
      metadata_props: entries(draw),
    });
  if (draw(4) === 0) model.training_info = [drawTraining(draw, names, initializer)];
  if (draw(6) === 0) model.configuration = [{ name: 'two', num_devices: 2, device: ['cpu:0', 'cpu:1'] }];
  drawUnknown(draw, model);
  return model;
}

function drawTraining(draw: Draw, names: Names, initializers: readonly Tree[]): Tree {
  const own: string[] = [];
  const input = names.next('train');
  const scope: Scope = { draw, names, readable: [input], isFunction: false, calls: [] };
  const algorithm: Tree = { name: 'step', node: [drawNode(scope, 1, own)], input: [{ name: input }] };
  algorithm.output = [{ name: own[0] as string }];
  const [first] = initializers;
  return {
    algorithm,
    ...(first ? { update_binding: [{ key: first.name as string, value: own[0] as string }] } : {}),
  };
}

const seeds = (): fc.Arbitrary<number> => fc.integer({ min: 0, max: 2 ** 31 - 1 });

/** A random valid model as a tree. */
export function modelTrees(): fc.Arbitrary<Tree> {
  return seeds().map((seed) => drawModel(drawFrom(seed)));
}

/** A random valid model in the encoding that protobuf's own libraries write. */
export function canonicalModels(): fc.Arbitrary<Uint8Array> {
  return modelTrees().map((tree) => encodeTree('ModelProto', tree));
}

/** A random valid model in any encoding: fields mixed, lists packed or not, packed lists in pieces. */
export function wildModels(): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(modelTrees(), seeds())
    .map(([tree, seed]) => encodeTree('ModelProto', tree, { random: drawFrom(seed) }));
}

/** A random tensor with its elements as raw bytes. */
export function tensorDrafts(
  options: { type?: DataType; storage?: Storage } = {},
): fc.Arbitrary<TensorDraft> {
  return seeds().map((seed) => drawTensor(drawFrom(seed), 't', options));
}
