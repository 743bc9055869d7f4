import { ATTRIBUTE_FIELDS } from './attribute.js';
import { messageOf } from './errors.js';
import { sha256 } from './io/digest.js';
import { glob, PatternError } from './names/glob.js';
import { quoted } from './names/quoted.js';
import { toBigInt, unknownFields } from './proto/codec.js';
import type {
  AttributeProto,
  FunctionProto,
  GraphProto,
  NodeProto,
  OperatorSetIdProto,
  SparseTensorProto,
  StringStringEntryProto,
  TensorProto,
  ValueInfoProto,
} from './proto/schema.js';
import { DATA_TYPES, dataTypeOf } from './tensor/data-type.js';
import { Tensor, widen } from './tensor/tensor.js';
import type { Model } from './types.js';
import { typeText } from './value-info.js';

/** Options of printModel. */
export interface PrintOptions {
  /** Also print what the weights hold: up to 8 values, or a digest of more. Reads them all. Default false. */
  readonly weights?: boolean;
  /**
   * Print these nodes alone, of every graph, with what they read and make: globs on their names and operators. Default: the
   * whole model.
   */
  readonly nodes?: readonly string[] | undefined;
  /** Subgraphs that are printed inside of each other; 0 prints none, and says so. Default all. */
  readonly depth?: number | undefined;
}

/** Tensors in attributes print their values up to this many elements. */
const SMALL = 8;
const STEP = '  ';

/**
 * The readable form of a model, for people, snapshots and comparison: the same model gives the same text on
 * every machine, and no weight is read unless `weights` is set.
 *
 * @throws PatternError for a glob in `nodes` that matches no node
 *
 * @example
 * console.log(printModel(await readModel('model.onnx')));
 */
export function printModel(model: Model, options: PrintOptions = {}): string {
  const { proto } = model;
  if (options.nodes !== undefined) return chosenLines(model, options.nodes, options);
  const lines = [`ir_version ${toBigInt(proto.ir_version)}, opset ${opsetsText(proto.opset_import)}`];
  const producer = [proto.producer_name, proto.producer_version].filter(Boolean).join(' ');
  if (producer) lines.push(`producer ${nameText(producer)}`);
  if (proto.domain) lines.push(`domain ${nameText(proto.domain)}`);
  if (proto.model_version !== undefined) lines.push(`model_version ${toBigInt(proto.model_version)}`);
  lines.push(...remarks(proto, ''));
  for (const device of proto.configuration ?? []) {
    const names = (device.device ?? []).map(nameText).join(', ');
    lines.push(`configuration ${nameText(device.name ?? '')}: ${device.num_devices ?? 0} devices [${names}]`);
  }
  lines.push(...graphLines(proto.graph ?? {}, 'graph', '', options));
  for (const body of proto.functions ?? []) lines.push(...functionLines(body, options));
  for (const info of proto.training_info ?? []) {
    lines.push('training_info {');
    if (info.initialization) lines.push(...graphLines(info.initialization, 'initialization', STEP, options));
    if (info.algorithm) lines.push(...graphLines(info.algorithm, 'algorithm', STEP, options));
    for (const { key, value } of info.initialization_binding ?? []) {
      lines.push(`${STEP}initialize %${nameText(key ?? '')} = %${nameText(value ?? '')}`);
    }
    for (const { key, value } of info.update_binding ?? []) {
      lines.push(`${STEP}update %${nameText(key ?? '')} = %${nameText(value ?? '')}`);
    }
    lines.push('}');
  }
  return `${lines.join('\n')}\n`;
}

/** Nodes that were asked for, each with the types of what it reads and makes. */
function chosenLines(model: Model, patterns: readonly string[], options: PrintOptions): string {
  const matches = patterns.map(glob);
  const all = [...model.nodes()];
  for (const [index, match] of matches.entries()) {
    if (all.some((node) => match(node.label) || match(node.opType))) continue;
    throw new PatternError(
      'nodes',
      patterns[index] ?? '',
      'node or operator',
      all.map(({ label }) => label),
      model.path,
    );
  }
  const lines = all
    .filter((node) => matches.some((match) => match(node.label) || match(node.opType)))
    .flatMap((node) => {
      const typed = [...node.inputs, ...node.outputs].filter(Boolean).flatMap((name) => {
        const tensor = node.graph.initializers.get(name)?.proto;
        if (tensor !== undefined)
          return [`${STEP}%${nameText(name)}: ${tensorText(tensor, options.weights)}`];
        const { inputs, outputs, valueInfo } = node.graph;
        const value = [...inputs, ...outputs, ...valueInfo].find((one) => one.name === name);
        return value === undefined ? [] : [`${STEP}${valueInfoText(value.proto)}`];
      });
      return [...nodeLines(node.proto, '', options), ...new Set(typed)];
    });
  return `${lines.join('\n')}\n`;
}

function graphLines(graph: GraphProto, kind: string, indent: string, options: PrintOptions): string[] {
  const inner = indent + STEP;
  const lines = [`${indent}${kind} ${nameText(graph.name ?? '')}${graph.name ? ' ' : ''}{`];
  lines.push(...remarks(graph, inner));
  for (const input of graph.input ?? []) lines.push(`${inner}input ${valueInfoText(input)}`);
  for (const output of graph.output ?? []) lines.push(`${inner}output ${valueInfoText(output)}`);
  for (const value of graph.value_info ?? []) lines.push(`${inner}value ${valueInfoText(value)}`);
  for (const tensor of graph.initializer ?? []) {
    lines.push(`${inner}initializer %${nameText(tensor.name ?? '')}: ${tensorText(tensor, options.weights)}`);
  }
  for (const sparse of graph.sparse_initializer ?? []) {
    lines.push(`${inner}initializer %${nameText(sparse.values?.name ?? '')}: ${sparseText(sparse)}`);
  }
  for (const note of graph.quantization_annotation ?? []) {
    const parts = (note.quant_parameter_tensor_names ?? []).map(entryText).join(', ');
    lines.push(`${inner}quantization %${nameText(note.tensor_name ?? '')}: ${parts}`);
  }
  for (const node of graph.node ?? []) lines.push(...nodeLines(node, inner, options));
  lines.push(`${indent}}`);
  return lines;
}

function functionLines(body: FunctionProto, options: PrintOptions): string[] {
  const inputs = (body.input ?? []).map(valueText).join(', ');
  const outputs = (body.output ?? []).map(valueText).join(', ');
  const attributes = [
    ...(body.attribute ?? []).map(nameText),
    ...(body.attribute_proto ?? []).map((attribute) => attributeText(attribute)),
  ];
  const list = attributes.length > 0 ? `[${attributes.join(', ')}]` : '';
  const lines = [`function ${functionName(body)}${list}(${inputs}) -> (${outputs}) {`];
  lines.push(`${STEP}opset ${opsetsText(body.opset_import)}`, ...remarks(body, STEP));
  for (const value of body.value_info ?? []) lines.push(`${STEP}value ${valueInfoText(value)}`);
  for (const node of body.node ?? []) lines.push(...nodeLines(node, STEP, options));
  lines.push('}');
  return lines;
}

/** `domain.name`, with `:overload` where there is one. */
export function functionName(body: FunctionProto): string {
  const domain = body.domain ? `${nameText(body.domain)}.` : '';
  return `${domain}${nameText(body.name ?? '')}${body.overload ? `:${nameText(body.overload)}` : ''}`;
}

function nodeLines(node: NodeProto, indent: string, options: PrintOptions): string[] {
  const lines = [indent + nodeText(node, options.weights), ...remarks(node, indent + STEP)];
  for (const attribute of sortedAttributes(node)) {
    const graphs = [...(attribute.g ? [attribute.g] : []), ...(attribute.graphs ?? [])];
    const kind = nameText(attribute.name ?? '');
    if (options.depth === 0 && graphs.length > 0) {
      const nodes = graphs.reduce((sum, graph) => sum + (graph.node ?? []).length, 0);
      lines.push(`${indent + STEP}${kind} { … ${nodes} nodes }`);
      continue;
    }
    const inner = options.depth === undefined ? options : { ...options, depth: options.depth - 1 };
    for (const graph of graphs) lines.push(...graphLines(graph, kind, indent + STEP, inner));
  }
  return lines;
}

function sortedAttributes(node: NodeProto): AttributeProto[] {
  const key = (attribute: AttributeProto): string => attribute.name ?? '';
  return [...(node.attribute ?? [])].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

/** A node in one line, its subgraphs left out: `%y = Conv[group=1](%x, %w)  # conv1`. */
export function nodeText(node: NodeProto, weights?: boolean): string {
  const outputs = (node.output ?? []).map(valueText).join(', ');
  const domain = node.domain ? `${nameText(node.domain)}.` : '';
  const overload = node.overload ? `:${nameText(node.overload)}` : '';
  const attributes = sortedAttributes(node).map((attribute) => attributeText(attribute, weights));
  const list = attributes.length > 0 ? `[${attributes.join(', ')}]` : '';
  const inputs = (node.input ?? []).map(valueText).join(', ');
  const name = node.name ? `  # ${nameText(node.name)}` : '';
  return `${outputs} = ${domain}${nameText(node.op_type ?? '')}${overload}${list}(${inputs})${name}`;
}

/** `name=value`; graphs by their name only. */
export function attributeText(attribute: AttributeProto, weights?: boolean): string {
  const name = nameText(attribute.name ?? '');
  if (attribute.ref_attr_name) return `${name}=@${nameText(attribute.ref_attr_name)}`;
  return `${name}=${attributeValueText(attribute, weights)}`;
}

function attributeValueText(attribute: AttributeProto, weights?: boolean): string {
  const field = (ATTRIBUTE_FIELDS as Readonly<Record<number, keyof typeof attributeFieldText>>)[
    attribute.type ?? 0
  ];
  if (field !== undefined) return attributeFieldText[field](attribute, weights);
  // No type (IR 1) or one of a newer ONNX: what is set counts.
  const set = Object.values(ATTRIBUTE_FIELDS).filter((candidate) => {
    const value = attribute[candidate];
    return value !== undefined && !(Array.isArray(value) && value.length === 0);
  });
  return set.length > 0
    ? set.map((candidate) => attributeFieldText[candidate](attribute, weights)).join(' | ')
    : '?';
}

const listText = (items: readonly string[] | undefined): string => `[${(items ?? []).join(', ')}]`;

const attributeFieldText = {
  f: (a) => floatText(a.f ?? 0),
  i: (a) => String(toBigInt(a.i)),
  s: (a) => bytesText(a.s ?? new Uint8Array(0)),
  t: (a, weights) => (a.t ? tensorText(a.t, weights, SMALL) : '?'),
  g: (a) => (a.g ? `graph ${nameText(a.g.name ?? '')}` : '?'),
  floats: (a) => listText(a.floats?.map(floatText)),
  ints: (a) => listText(a.ints?.map((int) => String(toBigInt(int)))),
  strings: (a) => listText(a.strings?.map(bytesText)),
  tensors: (a, weights) => listText(a.tensors?.map((tensor) => tensorText(tensor, weights, SMALL))),
  graphs: (a) => listText(a.graphs?.map((graph) => `graph ${nameText(graph.name ?? '')}`)),
  sparse_tensor: (a) => (a.sparse_tensor ? sparseText(a.sparse_tensor) : '?'),
  sparse_tensors: (a) => listText(a.sparse_tensors?.map(sparseText)),
  tp: (a) => typeText(a.tp),
  type_protos: (a) => listText(a.type_protos?.map(typeText)),
} as const satisfies Record<
  (typeof ATTRIBUTE_FIELDS)[keyof typeof ATTRIBUTE_FIELDS],
  (attribute: AttributeProto, weights?: boolean) => string
>;

/** Type and shape of a tensor, `float32[64, 3, 7, 7]`; with its values up to `values` elements. */
export function tensorText(tensor: TensorProto, weights = false, values = 0): string {
  const dims = (tensor.dims ?? []).map((dim) => toBigInt(dim));
  const type = dataTypeOf(tensor.data_type ?? 0) ?? `type ${tensor.data_type}`;
  const text = `${type}[${dims.join(', ')}]`;
  const size = dims.reduce((product, dim) => product * dim, 1n);
  const isSmall = size <= BigInt(Math.max(values, weights ? SMALL : 0));
  if (!isSmall && !weights) return text;
  try {
    if (isSmall) return `${text} = ${listText(tensorValues(tensor))}`;
    return `${text} = sha256:${digest(tensor)}`;
  } catch (error) {
    return `${text} = (${messageOf(error)})`;
  }
}

function tensorValues(proto: TensorProto): string[] {
  const tensor = new Tensor(proto);
  const type = tensor.dataType;
  if (type === 'undefined') return [];
  if (type === 'string') return (proto.string_data ?? []).map(bytesText);
  const { bits } = DATA_TYPES[type];
  const array = tensor.array();
  if (type === 'float16' || type === 'bfloat16')
    return Array.from(widen(type, array as Uint16Array), floatText);
  if (type === 'float32' || type === 'complex64') return Array.from(array as Float32Array, floatText);
  if (type === 'float64' || type === 'complex128') {
    return Array.from(array as Float64Array, (value) => (Object.is(value, -0) ? '-0' : String(value)));
  }
  // Packed and 8-bit floating-point elements have no array of their own: their bits, as they stand.
  if (bits < 8 || type.startsWith('float8')) {
    return Array.from(array as Uint8Array, (byte) => `0x${byte.toString(16).padStart(2, '0')}`);
  }
  return Array.from(array as ArrayLike<number | bigint>, String);
}

/** The pieces in which weights are digested. */
const CHUNK = 8 << 20;

function digest(proto: TensorProto): string {
  const hash = sha256();
  const tensor = new Tensor(proto);
  if (tensor.dataType === 'string') {
    for (const text of proto.string_data ?? []) hash.update(`${text.length}:`).update(text);
  } else {
    const source = tensor.rawSource;
    if (source === undefined) hash.update(tensor.bytes());
    else {
      for (let at = 0; at < source.length; at += CHUNK)
        hash.update(source.read(at, Math.min(CHUNK, source.length - at)));
    }
  }
  return hash.digest('hex').slice(0, 16);
}

export function sparseText(sparse: SparseTensorProto): string {
  const values = sparse.values ? tensorText(sparse.values) : '?';
  const indices = sparse.indices ? tensorText(sparse.indices) : '?';
  return `sparse [${(sparse.dims ?? []).map((dim) => toBigInt(dim)).join(', ')}] of ${values} at ${indices}`;
}

export function valueInfoText(value: ValueInfoProto): string {
  return `${valueText(value.name ?? '')}: ${typeText(value.type)}`;
}

export function opsetsText(opsets: readonly OperatorSetIdProto[] | undefined): string {
  return (opsets ?? [])
    .map(({ domain, version }) => `${domain ? nameText(domain) : 'ai.onnx'} ${toBigInt(version)}`)
    .join(', ');
}

export function entryText({ key, value }: StringStringEntryProto): string {
  return `${nameText(key ?? '')} = ${JSON.stringify(value ?? '')}`;
}

/** What a message says beside its content: documentation, metadata, fields that this ONNX does not know. */
function remarks(
  message: { doc_string?: string; metadata_props?: StringStringEntryProto[] },
  indent: string,
): string[] {
  const lines: string[] = [];
  if (message.doc_string) lines.push(`${indent}doc ${docText(message.doc_string)}`);
  for (const entry of message.metadata_props ?? []) lines.push(`${indent}metadata ${entryText(entry)}`);
  const unknown = unknownFields(message);
  if (unknown.length > 0) lines.push(`${indent}unknown fields ${unknown.map(hexText).join(' ')}`);
  return lines;
}

/** Exporters put whole stack traces into the documentation of nodes. */
const DOC_SHOWN = 80;

function docText(text: string): string {
  if (text.length <= DOC_SHOWN) return quoted(text);
  return `${quoted(text.slice(0, DOC_SHOWN))} … ${text.length} characters`;
}

function valueText(name: string): string {
  return name === '' ? '_' : `%${nameText(name)}`;
}

/** A name as it is or, where it would not read back unambiguously, in quotes. */
function nameText(name: string): string {
  return /^[^\s\p{Cc}\p{Cf}"'()[\]{},=#%]*$/u.test(name) ? name : quoted(name);
}

/** The shortest text that reads back to the same float32; of a number that is none, to the same float64. */
export function floatText(value: number): string {
  if (Object.is(value, -0)) return '-0';
  if (!Number.isFinite(value) || Math.fround(value) !== value) return String(value);
  for (let digits = 1; digits < 9; digits += 1) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(Number(value.toPrecision(9)));
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes as a string literal, or in hexadecimal where they are not text. */
export function bytesText(bytes: Uint8Array): string {
  try {
    return quoted(decoder.decode(bytes));
  } catch {
    return hexText(bytes);
  }
}

export function hexText(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`;
}
