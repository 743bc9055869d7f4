import { functionName } from '../print.js';
import type { FunctionProto, MessageName, NodeProto } from '../proto/schema.js';

type Fields = Readonly<Record<string, unknown>>;

/** Entries of two lists that stand for the same thing; one side is absent where only the other list has it. */
export interface Pair<T> {
  readonly before: T | undefined;
  readonly after: T | undefined;
  /** What to call it in a path: `'name'`, or its index. */
  readonly label: string;
}

/** The field that tells the entries of a repeated message apart. Others are matched by their index. */
const KEYS: { readonly [M in MessageName]?: (message: Fields) => unknown } = {
  ValueInfoProto: ({ name }) => name,
  TensorProto: ({ name }) => name,
  AttributeProto: ({ name }) => name,
  StringStringEntryProto: ({ key }) => key,
  OperatorSetIdProto: ({ domain }) => (domain === undefined || domain === '' ? 'ai.onnx' : domain),
  FunctionProto: (body) => functionName(body as FunctionProto),
  SparseTensorProto: ({ values }) => (values as Fields | undefined)?.name,
  TensorAnnotation: ({ tensor_name }) => tensor_name,
  DeviceConfigurationProto: ({ name }) => name,
  NodeDeviceConfigurationProto: ({ configuration_id }) => configuration_id,
  ShardingSpecProto: ({ tensor_name }) => tensor_name,
};

export function matchByKey(type: MessageName, a: readonly Fields[], b: readonly Fields[]): Pair<Fields>[] {
  const [inA, inB] = [labelled(type, a), labelled(type, b)];
  const pairs: Pair<Fields>[] = [];
  for (const [label, before] of inA) pairs.push({ before, after: inB.get(label), label });
  for (const [label, after] of inB) if (!inA.has(label)) pairs.push({ before: undefined, after, label });
  return pairs;
}

/** Each entry under a label of its own: its key, the index where it has none, `#2` behind one that repeats. */
function labelled(type: MessageName, list: readonly Fields[]): Map<string, Fields> {
  const keyOf = KEYS[type];
  const out = new Map<string, Fields>();
  const seen = new Map<string, number>();
  for (const [index, entry] of list.entries()) {
    const key = keyOf?.(entry);
    if (key === undefined || key === '') {
      out.set(String(index), entry);
      continue;
    }
    const count = (seen.get(String(key)) ?? 0) + 1;
    seen.set(String(key), count);
    out.set(count === 1 ? `'${key}'` : `'${key}' #${count}`, entry);
  }
  return out;
}

/**
 * Nodes by their name where it is unique in both lists, the others by their first output, what is then left by its
 * operator in the order of the lists.
 */
export function matchNodes(a: readonly NodeProto[], b: readonly NodeProto[]): Pair<NodeProto>[] {
  const partner = new Map<NodeProto, NodeProto>();
  const taken = new Set<NodeProto>();
  const pairBy = (keyOf: (node: NodeProto) => string | undefined): void => {
    const left = unique(
      a.filter((node) => !partner.has(node)),
      keyOf,
    );
    const right = unique(
      b.filter((node) => !taken.has(node)),
      keyOf,
    );
    for (const [key, node] of left) {
      const match = right.get(key);
      if (match === undefined) continue;
      partner.set(node, match);
      taken.add(match);
    }
  };
  pairBy((node) => node.name);
  pairBy((node) => node.output?.find(Boolean));
  const rest = new Map<string, NodeProto[]>();
  const operator = (node: NodeProto): string => JSON.stringify([node.domain ?? '', node.op_type ?? '']);
  for (const node of b) {
    if (taken.has(node)) continue;
    const list = rest.get(operator(node));
    if (list === undefined) rest.set(operator(node), [node]);
    else list.push(node);
  }
  for (const list of rest.values()) list.reverse();
  for (const node of a) {
    const match = partner.has(node) ? undefined : rest.get(operator(node))?.pop();
    if (match === undefined) continue;
    partner.set(node, match);
    taken.add(match);
  }
  return [
    ...a.map((before) => ({ before, after: partner.get(before), label: labelOf(before) })),
    ...b
      .filter((node) => !taken.has(node))
      .map((after) => ({ before: undefined, after, label: labelOf(after) })),
  ];
}

/** The entries whose key no other has. */
function unique(
  list: readonly NodeProto[],
  keyOf: (node: NodeProto) => string | undefined,
): Map<string, NodeProto> {
  const found = new Map<string, NodeProto>();
  const twice = new Set<string>();
  for (const node of list) {
    const key = keyOf(node);
    if (!key) continue;
    if (found.has(key)) twice.add(key);
    found.set(key, node);
  }
  for (const key of twice) found.delete(key);
  return found;
}

function labelOf(node: NodeProto): string {
  return `'${node.name || node.output?.find(Boolean) || `unnamed ${node.op_type}`}'`;
}
