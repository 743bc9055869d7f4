import { payloadsOf } from '../io/payload.js';
import {
  attributeText,
  bytesText,
  entryText,
  floatText,
  functionName,
  hexText,
  nodeText,
  opsetsText,
  sparseText,
  tensorText,
  valueInfoText,
} from '../print.js';
import { toBigInt, unknownFields } from '../proto/codec.js';
import {
  type AttributeProto,
  type FunctionProto,
  type GraphProto,
  type Int64,
  isMessageName,
  type MessageName,
  type NodeProto,
  type OperatorSetIdProto,
  SCHEMA,
  type SparseTensorProto,
  type StringStringEntryProto,
  type TensorProto,
  type TypeProto,
  type ValueInfoProto,
} from '../proto/schema.js';
import type { Model } from '../types.js';
import { typeText } from '../value-info.js';
import { compareData } from './diff-data.js';
import { matchByKey, matchNodes, type Pair } from './diff-match.js';

/** One difference between two models. */
export interface Difference {
  /** Where, from the model down: `graph.node['conv1'].attribute['pads'].ints`. */
  readonly path: string;
  readonly kind: 'added' | 'removed' | 'changed';
  /** What the first model has there, readable; absent where it has nothing. */
  readonly before?: string;
  readonly after?: string;
}

/** Options of diffModels. */
export interface DiffOptions {
  /** Compare the elements of tensors ('exact', default), or only their types and shapes. */
  readonly weights?: 'ignore' | 'exact';
  /** Also tell raw, typed and external storage of the same elements apart. Default false. */
  readonly storage?: boolean;
}

/**
 * Every difference between two models; none exactly when all their fields are equal. Parts are matched by name
 * (nodes without one by their first output), so that an insertion does not make all that follows differ.
 *
 * @throws ModelError where the data of a tensor cannot be read
 * @example
 * console.log(formatDifferences(diffModels(await readModel('a.onnx'), await readModel('b.onnx'))));
 */
export function diffModels(a: Model, b: Model, options: DiffOptions = {}): Difference[] {
  const diff = new Differ(options);
  diff.message('ModelProto', a.proto, b.proto, '');
  return diff.found;
}

/**
 * One line a difference: `~ graph.node['conv1'].attribute['pads'].ints: [0, 0] -> [1, 1]`.
 *
 * @example
 * console.log(formatDifferences(diffModels(a, b)));
 */
export function formatDifferences(list: readonly Difference[]): string {
  return list
    .map(({ path, kind, before, after }) => {
      if (kind === 'added') return `+ ${path}: ${after}`;
      if (kind === 'removed') return `- ${path}: ${before}`;
      return `~ ${path}: ${before} -> ${after}`;
    })
    .join('\n');
}

/** A decoded message, looked at by field name. */
type Fields = Readonly<Record<string, unknown>>;

class Differ {
  readonly found: Difference[] = [];
  readonly #weights: boolean;
  readonly #storage: boolean;

  constructor(options: DiffOptions) {
    this.#weights = options.weights !== 'ignore';
    this.#storage = options.storage === true;
  }

  message(name: MessageName, a: Fields, b: Fields, path: string): void {
    for (const [field, spec] of Object.entries(SCHEMA[name])) {
      const [, type, label] = spec as readonly [number, string, string?];
      if (name === 'TensorProto' && this.#isData(field)) continue;
      const place = path === '' ? field : `${path}.${field}`;
      if (label === 'repeated') {
        const [before, after] = [listOf(a[field]), listOf(b[field])];
        if (isMessageName(type)) this.#list(type, before as Fields[], after as Fields[], place);
        else if (!equalLists(type, before, after))
          this.#changed(place, scalarsText(type, before), scalarsText(type, after));
      } else this.#field(type, a[field], b[field], place);
    }
    if (name === 'TensorProto') this.#data(a as TensorProto, b as TensorProto, path);
    const [before, after] = [a, b].map((side) => unknownFields(side).map(hexText).join(' '));
    if (before !== after) this.#changed(`${path}${path && '.'}(unknown fields)`, before ?? '', after ?? '');
  }

  #field(type: string, a: unknown, b: unknown, path: string): void {
    if (a === undefined && b === undefined) return;
    if (isMessageName(type)) {
      if (a !== undefined && b !== undefined) this.message(type, a as Fields, b as Fields, path);
      else if (a === undefined) this.#added(path, messageText(type, b as Fields));
      else this.#removed(path, messageText(type, a as Fields));
      return;
    }
    if (a === undefined) this.#added(path, scalarText(type, b));
    else if (b === undefined) this.#removed(path, scalarText(type, a));
    else if (!equalScalars(type, a, b)) this.#changed(path, scalarText(type, a), scalarText(type, b));
  }

  #list(type: MessageName, a: readonly Fields[], b: readonly Fields[], path: string): void {
    const pairs: Pair<Fields>[] =
      type === 'NodeProto' ? matchNodes(a as NodeProto[], b as NodeProto[]) : matchByKey(type, a, b);
    for (const { before, after, label } of pairs) {
      const place = `${path}[${label}]`;
      if (before !== undefined && after !== undefined) this.message(type, before, after, place);
      else if (before !== undefined) this.#removed(place, messageText(type, before));
      else if (after !== undefined) this.#added(place, messageText(type, after));
    }
    this.#order(a, b, pairs, path);
  }

  /** Reports parts that both lists have, in another order. */
  #order(a: readonly Fields[], b: readonly Fields[], pairs: readonly Pair<Fields>[], path: string): void {
    const both = pairs.filter(({ before, after }) => before !== undefined && after !== undefined);
    const [inA, inB] = [
      new Map(a.map((entry, index) => [entry, index])),
      new Map(b.map((entry, index) => [entry, index])),
    ];
    const byA = [...both].sort((p, q) => at(inA, p.before) - at(inA, q.before));
    const byB = [...both].sort((p, q) => at(inB, p.after) - at(inB, q.after));
    const first = byA.findIndex((pair, index) => pair !== byB[index]);
    if (first < 0) return;
    let last = byA.length - 1;
    while (byA[last] === byB[last]) last -= 1;
    const text = (list: readonly Pair<Fields>[]): string =>
      itemsText(list.slice(first, last + 1).map(({ label }) => label));
    this.#changed(`${path} (order)`, text(byA), text(byB));
  }

  #data(a: TensorProto, b: TensorProto, path: string): void {
    const data = this.#weights ? compareData(a, b) : undefined;
    if (data !== undefined) this.#changed(`${path}.data`, data.before, data.after);
    if (!this.#storage) return;
    const [before, after] = [storageText(a), storageText(b)];
    if (before !== after) this.#changed(`${path}.(storage)`, before, after);
  }

  #isData(field: string): boolean {
    return STORAGE_FIELDS.has(field) || (field === 'string_data' && !this.#weights);
  }

  #added(path: string, after: string): void {
    this.found.push({ path, kind: 'added', after });
  }

  #removed(path: string, before: string): void {
    this.found.push({ path, kind: 'removed', before });
  }

  #changed(path: string, before: string, after: string): void {
    this.found.push({ path, kind: 'changed', before: before || '(none)', after: after || '(none)' });
  }
}

/** How a tensor's elements are stored; compared as elements, or where `storage` is set. */
const STORAGE_FIELDS: ReadonlySet<string> = new Set(['payload_ids', 'external_data', 'data_location']);

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function at(positions: ReadonlyMap<Fields, number>, entry: Fields | undefined): number {
  return entry === undefined ? -1 : (positions.get(entry) ?? -1);
}

function equalLists(type: string, a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((value, index) => equalScalars(type, value, b[index]));
}

function equalScalars(type: string, a: unknown, b: unknown): boolean {
  if (type === 'bytes') return Buffer.compare(a as Uint8Array, b as Uint8Array) === 0;
  if (type === 'int64') return toBigInt(a as Int64) === toBigInt(b as Int64);
  return Object.is(a, b);
}

function scalarText(type: string, value: unknown): string {
  if (type === 'bytes') return bytesText(value as Uint8Array);
  if (type === 'string') return JSON.stringify(value);
  if (type === 'float') return floatText(value as number);
  return String(value);
}

function scalarsText(type: string, values: readonly unknown[]): string {
  return itemsText(values.map((value) => scalarText(type, value)));
}

/** Longer lists are shown in part. */
const SHOWN = 32;

function itemsText(items: readonly string[]): string {
  if (items.length <= SHOWN) return `[${items.join(', ')}]`;
  return `[${items.slice(0, SHOWN).join(', ')}, … ${items.length} in all]`;
}

function storageText(tensor: TensorProto): string {
  const fields = [...payloadsOf(tensor).values()].map(({ field }) => field as string);
  if (tensor.data_location !== undefined) fields.push(`data_location ${tensor.data_location}`);
  return [...fields.sort(), ...(tensor.external_data ?? []).map(entryText)].join(', ');
}

/** A message in one line. */
function messageText(type: MessageName, message: Fields): string {
  const text = MESSAGE_TEXT[type];
  return text === undefined ? fieldsText(type, message) : text(message);
}

const MESSAGE_TEXT: { readonly [M in MessageName]?: (message: Fields) => string } = {
  NodeProto: (node) => nodeText(node as NodeProto),
  AttributeProto: (attribute) => attributeText(attribute as AttributeProto),
  TensorProto: (tensor) => tensorText(tensor as TensorProto, false, SHOWN),
  SparseTensorProto: (sparse) => sparseText(sparse as SparseTensorProto),
  ValueInfoProto: (value) => valueInfoText(value as ValueInfoProto),
  StringStringEntryProto: (entry) => entryText(entry as StringStringEntryProto),
  OperatorSetIdProto: (opset) => opsetsText([opset as OperatorSetIdProto]),
  TypeProto: (type) => typeText(type as TypeProto),
  FunctionProto: (body) =>
    `${functionName(body as FunctionProto)} of ${(body as FunctionProto).node?.length ?? 0} nodes`,
  GraphProto: (graph) =>
    `graph '${(graph as GraphProto).name ?? ''}' of ${(graph as GraphProto).node?.length ?? 0} nodes`,
};

function fieldsText(type: MessageName, message: Fields): string {
  const parts: string[] = [];
  for (const [field, spec] of Object.entries(SCHEMA[type])) {
    const [, inner] = spec as readonly [number, string];
    const value = message[field];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    const text = (one: unknown): string =>
      isMessageName(inner) ? messageText(inner, one as Fields) : scalarText(inner, one);
    parts.push(`${field} ${Array.isArray(value) ? itemsText(value.map(text)) : text(value)}`);
  }
  return `{ ${parts.join(', ')} }`;
}
