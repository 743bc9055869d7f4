import type { Graph, Model, Node } from '../../graph/index.js';

/** The metadata_props key under which each node of an adapter says where it belongs. */
const KEY = 'onnx-overparam.lora';

/** What a node of an adapter is: a factor, the multiplication by the scale, or the sum with the layer. */
export type LoraPart = 'factor' | 'scale' | 'add';

/** What a node of an adapter says of itself. Training by any framework keeps it: it is of the node, not of its numbers. */
export interface LoraNote {
  readonly part: LoraPart;
  /** As PEFT calls the layer: model.layers.0.self_attn.q_proj. */
  readonly module: string;
  /** Name of the layer's node. */
  readonly site: string;
  /** Name of the layer's weight. */
  readonly weight: string;
  /** Of a factor: its place in the order of application, from 0. */
  readonly factor: number;
  /** Number of factors. */
  readonly of: number;
}

export function loraMetadata(note: LoraNote): Record<string, string> {
  return { [KEY]: JSON.stringify(note) };
}

/** The note of a node of an adapter; undefined of other nodes. */
export function readLoraNote(node: Node): LoraNote | undefined {
  const text = node.metadata.get(KEY);
  if (text === undefined) return undefined;
  try {
    const note = JSON.parse(text) as Partial<LoraNote>;
    const isNote =
      (note.part === 'factor' || note.part === 'scale' || note.part === 'add') &&
      typeof note.module === 'string' &&
      typeof note.site === 'string' &&
      typeof note.weight === 'string' &&
      Number.isInteger(note.factor) &&
      Number.isInteger(note.of) &&
      Number(note.of) > 1;
    return isNote ? (note as LoraNote) : undefined;
  } catch {
    return undefined;
  }
}

/** True for a model some of whose nodes say that they are of an adapter. */
export function hasAdapters(model: Model): boolean {
  for (const node of model.nodes()) if (readLoraNote(node) !== undefined) return true;
  return false;
}

/** The values that the factors of adapters read as their weights: all that trains in a model with adapters. */
export function adapterWeights(graph: Graph): ReadonlySet<string> {
  const names = new Set<string>();
  for (const inner of graph.walk())
    for (const node of inner.nodes)
      if (readLoraNote(node)?.part === 'factor') for (const input of node.inputs) names.add(input);
  return names;
}
