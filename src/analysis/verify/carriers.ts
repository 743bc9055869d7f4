import { compareData } from '../../graph/diff/diff-data.js';
import { type Model, type Node, printModel, type Tensor } from '../../graph/index.js';
import { traitsOf } from '../../graph/operators/index.js';
import { constantTensor } from '../../runtime/constants/constant.js';
import { buildModel } from '../../runtime/session/small-model.js';

/** A tensor in each of two models. */
export interface Pair {
  /** What it is called in a report. */
  readonly name: string;
  readonly a: string;
  readonly b: string;
}

/**
 * The tensors that make an output which is no tensor: a sequence, a map, an optional value. onnxruntime-node returns none of those, but
 * where the same node makes it in both models, what that reads tells as much.
 *
 * @returns undefined where something else makes it in the second model
 */
export function carriersOf(a: Model, b: Model, output: string): Pair[] | undefined {
  const pairs: Pair[] = [];
  const queue: [string, string][] = [[output, output]];
  for (let names = queue.pop(); names !== undefined; names = queue.pop()) {
    const [left, right] = names.map((name, index) => (index === 0 ? a : b).graph.producer(name));
    if (left === undefined || right === undefined || !doTheSame(left, right)) return undefined;
    if (left.outputs.indexOf(names[0]) !== right.outputs.indexOf(names[1])) return undefined;
    for (const [index, value] of left.inputs.entries()) {
      const other = right.inputs[index] ?? '';
      const [constantA, constantB] = [constantTensor(a.graph, value), constantTensor(b.graph, other)];
      if (value === '' || constantA !== undefined || constantB !== undefined) {
        if (value !== other && !isSameTensor(constantA, constantB)) return undefined;
      } else if (makesNoTensor(a.graph.producer(value), value)) queue.push([value, other]);
      else pairs.push({ name: output, a: value, b: other });
    }
  }
  // In the order of the nodes' inputs.
  const names = new Map(pairs.map((pair) => [`${pair.a} ${pair.b}`, pair]));
  return [...names.values()].map((pair) => ({
    ...pair,
    name: names.size === 1 ? output : `${output} (${pair.a})`,
  }));
}

function makesNoTensor(node: Node | undefined, output: string): boolean {
  if (node === undefined) return false;
  return (
    traitsOf(node).makesNoTensor === true ||
    (node.domain === 'ai.onnx.ml' && ['ZipMap', 'CastMap'].includes(node.opType)) ||
    (node.is('Identity') && makesNoTensor(node.graph.producer(node.inputs[0] ?? ''), output))
  );
}

/** Whether two nodes do the same with what they read, whatever that is called. */
function doTheSame(a: Node, b: Node): boolean {
  // What a body captures goes by its name.
  if (a.subgraphs.length > 0) return isSameNode(a, b);
  return a.inputs.length === b.inputs.length && nodeText(a, true) === nodeText(b, true);
}

/** Whether two nodes do the same with the same values. */
export function isSameNode(a: Node, b: Node | undefined): boolean {
  return b !== undefined && nodeText(a) === nodeText(b);
}

function nodeText({ proto: { doc_string, metadata_props, ...proto } }: Node, isNameless = false): string {
  const bare = isNameless
    ? {
        ...proto,
        name: '',
        input: proto.input?.map(() => 'x') ?? [],
        output: proto.output?.map(() => 'y') ?? [],
      }
    : proto;
  return printModel(buildModel({ nodes: [bare], outputs: [], opset: [] }), { weights: true });
}

export function isSameTensor(a: Tensor | undefined, b: Tensor | undefined): boolean {
  if (a === undefined || b?.dataType !== a.dataType || b.shape.join() !== a.shape.join()) return false;
  return a.proto === b.proto || compareData(a.proto, b.proto) === undefined;
}
