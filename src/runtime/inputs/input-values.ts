import { constantTensor, type Graph, type Node, traitsOf } from '../../graph/index.js';
import { Shapes } from '../../graph/shapes/shapes.js';
import { isOpen, type OpenDims } from './open-dims.js';

/** What may stand in an input: whole numbers of a range, both ends included, or what each of its elements has to be. */
export type InputValues =
  | { readonly from: number; readonly to: number }
  | { readonly each: (index: number, elements: number) => number };

/** Sizes of values where the inputs have certain shapes, as operators make them or the model notes them. */
export class KnownSizes {
  readonly #root: Graph;
  readonly #inputs: ReadonlyMap<string, readonly number[]>;
  readonly #dims: OpenDims;
  readonly #shapes = new Map<Graph, Shapes>();

  /**
   * @param inputs the shapes that the inputs are given
   * @param dims sizes of symbolic dimensions; others are 1
   */
  constructor(root: Graph, inputs: ReadonlyMap<string, readonly number[]>, dims: OpenDims) {
    this.#root = root;
    this.#inputs = inputs;
    this.#dims = dims;
  }

  /** The size of an axis of a node's input. */
  at(node: Node, input: number, axis: number): number | undefined {
    return this.of(node, input)?.at(axis);
  }

  of(node: Node, input: number): readonly (number | undefined)[] | undefined {
    return this.#in(node.graph)
      .of(node.inputs[input] ?? '')
      ?.map((dim) => {
        if (typeof dim === 'number') return isOpen(dim) ? undefined : dim;
        return dim === undefined ? undefined : Object.hasOwn(this.#dims, dim) ? this.#dims[dim] : 1;
      });
  }

  #in(graph: Graph): Shapes {
    const before = this.#shapes.get(graph);
    if (before !== undefined) return before;
    const { parent } = graph;
    const shapes = new Shapes(graph, {
      inputs: graph === this.#root ? this.#inputs : undefined,
      around: parent && ((value) => this.#in(parent).of(value)),
    });
    this.#shapes.set(graph, shapes);
    return shapes;
  }
}

const range = (from: number, to: number): InputValues => ({ from, to: Math.max(from, to) });
const always = (value: number): InputValues => ({ each: () => value });
/** Axes: each another one, from the first. */
const ORDINAL: InputValues = { each: (index) => index };
/** A shape that any tensor can be given. */
const ANY_SHAPE: InputValues = { each: (index, elements) => (index === elements - 1 ? -1 : 1) };
const LARGEST = 2 ** 31 - 1;

/**
 * What an input has to hold for the model to run, by what reads it: indices of an axis, lengths of sequences, axes, sizes, divisors. An
 * operator that only moves values about hands on what reads those. Of floats, ranges count behind a Cast alone. Undefined where nothing asks for anything.
 */
export function inputValues(
  graph: Graph,
  input: string,
  known: KnownSizes,
  isFloat = false,
): InputValues | undefined {
  const found: InputValues[] = [];
  const seen = new Set<string>();
  const queue = [{ graph, value: input, isWhole: true, isCast: false }];
  for (let item = queue.pop(); item !== undefined; item = queue.pop()) {
    if (seen.has(item.value)) continue;
    seen.add(item.value);
    for (const { node, index } of item.graph.uses(item.value)) {
      if (index < 0) continue;
      const values = valuesAt(node, index, known);
      // Of a part of a shape, the place of its elements is not known.
      const isWanted = values !== undefined && (!isFloat || item.isCast || 'each' in values);
      if (isWanted) found.push(item.isWhole || 'from' in values ? values : always(1));
      if (handsOn(node, index)) {
        const isWhole = item.isWhole && !node.is('Concat', 'Gather', 'Slice', 'Split');
        const isCast = item.isCast || node.is('Cast');
        for (const value of node.outputs) {
          if (value !== '') queue.push({ graph: node.graph, value, isWhole, isCast });
        }
      }
    }
  }
  const fixed = found.find((values) => 'each' in values);
  if (fixed !== undefined || found.length === 0) return fixed;
  const ranges = found.filter((values) => 'from' in values);
  return range(Math.max(...ranges.map(({ from }) => from)), Math.min(...ranges.map(({ to }) => to)));
}

/** Whether what comes out are values of an input, whatever else they are. */
function handsOn(node: Node, index: number): boolean {
  if (node.is('Concat')) return true;
  return index === 0 && (traitsOf(node).moves === true || node.is('Cast', 'Clip'));
}

/**
 * The inputs of operators that generate text: tokens, the largest length (longer than the tokens given), the least one, numbers of
 * beams and of results, penalties (above 0), masks.
 */
const GENERATING: Readonly<Record<string, readonly ('token' | 'longest' | 'one' | 'two')[]>> = {
  BeamSearch: ['token', 'longest', 'one', 'two', 'one', 'one', 'one', 'one', 'one', 'one'],
  GreedySearch: ['token', 'longest', 'one', 'one', 'one', 'one', 'one'],
  Sampling: ['token', 'longest', 'one', 'one', 'one', 'one', 'one'],
};

/** What one input of a node may hold. Of a size that is not known, 1 is assumed: then there is one index, 0. */
function valuesAt(node: Node, index: number, sizes: KnownSizes): InputValues | undefined {
  const below = (size: number | undefined): InputValues => range(0, (size ?? 1) - 1);
  const upTo = (size: number | undefined): InputValues => range(1, size ?? 1);
  const axis = (absent: number): number => node.attributes.int('axis', absent);
  const key = `${node.domain === '' ? '' : `${node.domain}.`}${node.opType} ${index}`;
  switch (key) {
    case 'Gather 1':
    case 'GatherElements 1':
    case 'ScatterElements 1':
    case 'Scatter 1':
      return below(sizes.at(node, 0, axis(0)));
    case 'GatherND 1':
    case 'ScatterND 1': {
      const batch = node.is('GatherND') ? node.attributes.int('batch_dims', 0) : 0;
      const depth = sizes.at(node, 1, -1) ?? Number.POSITIVE_INFINITY;
      const indexed = sizes.of(node, 0)?.slice(batch, batch + depth) ?? [];
      return below(indexed.length === 0 ? 1 : Math.min(...indexed.map((size) => size ?? 1)));
    }
    case 'SoftmaxCrossEntropyLoss 1':
    case 'NegativeLogLikelihoodLoss 1':
      return below(sizes.at(node, 0, 1));
    case 'com.microsoft.EmbedLayerNormalization 0':
      return below(sizes.at(node, 2, 0));
    case 'com.microsoft.EmbedLayerNormalization 1':
      return below(sizes.at(node, 4, 0));
    case 'com.microsoft.RotaryEmbedding 1':
      return below(sizes.at(node, 2, 0));
    case 'RotaryEmbedding 3':
      return below(sizes.at(node, 1, 0));
    case 'com.microsoft.GroupQueryAttention 9':
      return below(sizes.at(node, 7, 0));
    case 'ai.onnx.ml.ArrayFeatureExtractor 1':
      return below(sizes.at(node, 0, -1));
    case 'MaxUnpool 1':
      return below(sizes.of(node, 0)?.reduce((product: number, size) => product * (size ?? 1), 1));
    case 'OneHot 0': {
      const depth = constantTensor(node.graph, node.inputs[1] ?? '');
      return depth === undefined || depth.size !== 1 ? undefined : below(Number(depth.array()[0]));
    }
    case 'LSTM 4':
    case 'GRU 4':
    case 'RNN 4':
      return upTo(sizes.at(node, 0, node.attributes.int('layout', 0)));
    case 'ReverseSequence 1':
      return upTo(sizes.at(node, 0, node.attributes.int('time_axis', 0)));
    case 'TopK 1':
      return upTo(sizes.at(node, 0, axis(-1)));
    case 'Squeeze 1':
    case 'Unsqueeze 1':
    case 'Slice 3':
      return ORDINAL;
    case 'CumSum 1':
    case 'Slice 1':
    case 'SequenceAt 1':
    case 'SequenceErase 1':
    case 'SequenceInsert 2':
    case 'DFT 2':
    case 'Trilu 1':
      return always(0);
    case 'Slice 2':
      return always(LARGEST);
    case 'Slice 4':
    case 'Expand 1':
    case 'Upsample 1':
    case 'Resize 2':
    case 'SplitToSequence 1':
      return always(1);
    case 'Resize 3': {
      const shape = sizes.of(node, 0);
      return { each: (place) => shape?.[place] ?? 1 };
    }
    case 'Reshape 1':
      return ANY_SHAPE;
    case 'Split 1': {
      const size = sizes.at(node, 0, axis(0));
      return { each: (place, parts) => (place === 0 ? Math.max(0, (size ?? parts) - parts + 1) : 1) };
    }
    case 'Pad 1':
      return range(0, 1);
    case 'ConstantOfShape 0':
    case 'CenterCropPad 1':
    case 'Loop 0':
    case 'Range 2':
    case 'STFT 1':
    case 'Tile 1':
      return range(1, 3);
    case 'OneHot 1':
    case 'NonMaxSuppression 2':
    case 'Div 1':
    case 'Mod 1':
      return range(1, 9);
    case 'BitShift 1':
      return range(0, 7);
    case 'Dropout 1':
    case 'NonMaxSuppression 3':
      return always(0.5);
  }
  const generating = node.domain === 'com.microsoft' ? GENERATING[node.opType] : undefined;
  switch (generating?.[index]) {
    case 'token':
      return below(Math.max(0, node.attributes.int('vocab_size', 0)) || 10);
    case 'longest':
      return always((sizes.at(node, 0, 1) ?? 1) + 4);
    case 'one':
      return always(1);
    case 'two':
      return always(2);
  }
  return node.opType.startsWith('Reduce') && node.domain === '' && index === 1 ? ORDINAL : undefined;
}
