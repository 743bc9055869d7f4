import { axisOf } from '../operators/index.js';
import type { Node } from '../types.js';
import type { Dimension } from '../value-info.js';
import type { KnownIntegers } from './relabelling.js';

type Shape = readonly Dimension[];

const at = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);
const times = (dim: Dimension, factor: number): Dimension =>
  typeof dim === 'number' ? dim * factor : factor === 1 ? dim : undefined;
const over = (dim: Dimension, factor: number): Dimension =>
  typeof dim === 'number' ? dim / factor : factor === 1 ? dim : undefined;

/** The first output of operators that pick, spread or resize; undefined of others. */
export function pickedShape(
  node: Node,
  [first, second]: readonly (Shape | undefined)[],
  constants: KnownIntegers,
): Shape | undefined {
  const { attributes } = node;
  switch (node.opType) {
    case 'DepthToSpace':
    case 'SpaceToDepth': {
      const block = attributes.int('blocksize', 1);
      const [n, c, h, w] = first ?? [];
      if (first?.length !== 4) return undefined;
      return node.opType === 'DepthToSpace'
        ? [n, over(c, block * block), times(h, block), times(w, block)]
        : [n, times(c, block * block), over(h, block), over(w, block)];
    }
    case 'GatherElements':
      return second;
    case 'GatherND': {
      const width = second?.at(-1);
      const batch = attributes.int('batch_dims', 0);
      if (first === undefined || second === undefined || typeof width !== 'number') return undefined;
      return [...second.slice(0, -1), ...first.slice(batch + width)];
    }
    case 'TopK': {
      const count = node.inputs[1] ? constants.integers(node, 1)?.[0] : attributes.int('k', 0);
      return first?.with(at(axisOf(node), first.length), count);
    }
    case 'OneHot': {
      const depth = constants.integers(node, 1)?.[0];
      if (first === undefined) return undefined;
      const axis = at(attributes.int('axis', -1), first.length + 1);
      return [...first.slice(0, axis), depth, ...first.slice(axis)];
    }
    case 'Resize':
    case 'Upsample':
      return resized(node, first, constants);
    case 'Einsum':
      return contracted(node, [first, second]);
    case 'Range': {
      const [start, limit, step] = [0, 1, 2].map((index) => constants.integers(node, index)?.[0]);
      const isKnown = start !== undefined && limit !== undefined && step !== undefined && step !== 0;
      return [isKnown ? Math.max(0, Math.ceil((limit - start) / step)) : undefined];
    }
    case 'Size':
      return [];
    case 'NonZero':
      return [first?.length, undefined];
    case 'NonMaxSuppression':
      return [undefined, 3];
    case 'Det':
      return first?.slice(0, -2);
    case 'GridSample':
      return first && second && [first[0], first[1], ...second.slice(1, -1)];
    case 'RandomNormal':
    case 'RandomUniform':
      return attributes.ints('shape');
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return recurrent(node, first)[0];
    default:
      return undefined;
  }
}

/** The outputs behind the first, of operators that have such. */
export function furtherShapes(
  node: Node,
  [first, second]: readonly (Shape | undefined)[],
  made: Shape | undefined,
): readonly (Shape | undefined)[] {
  switch (node.opType) {
    case 'Dropout':
    case 'MaxPool':
    case 'TopK':
      return [made];
    case 'BatchNormalization':
      return node.outputs.slice(1).map(() => second);
    case 'LayerNormalization': {
      const from = first && at(node.attributes.int('axis', -1), first.length);
      const mean = first?.map((dim, axis) => (axis < (from ?? 0) ? dim : 1));
      return [mean, mean];
    }
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return recurrent(node, first).slice(1);
    default:
      return [];
  }
}

function recurrent(node: Node, first: Shape | undefined): readonly Shape[] {
  const { attributes } = node;
  const directions = attributes.string('direction', 'forward') === 'bidirectional' ? 2 : 1;
  const hidden = attributes.has('hidden_size') ? attributes.int('hidden_size', 0) : undefined;
  const isBatchFirst = attributes.int('layout', 0) === 1;
  const [length, batch] = isBatchFirst ? [first?.[1], first?.[0]] : [first?.[0], first?.[1]];
  const whole = isBatchFirst ? [batch, length, directions, hidden] : [length, directions, batch, hidden];
  const last = isBatchFirst ? [batch, directions, hidden] : [directions, batch, hidden];
  return [whole, last, last];
}

function resized(node: Node, first: Shape | undefined, constants: KnownIntegers): Shape | undefined {
  const { attributes, inputs } = node;
  const axes = attributes.ints('axes') ?? first?.map((_, axis) => axis) ?? [];
  const isStretched = attributes.string('keep_aspect_ratio_policy', 'stretch') === 'stretch';
  const open = first?.map((dim, axis) =>
    axes.some((one) => at(one, first.length) === axis) ? undefined : dim,
  );
  if (first === undefined || open === undefined || !isStretched) return open;
  const sizes = inputs[3] ? constants.integers(node, 3) : undefined;
  const place = node.is('Resize') && inputs.length > 2 ? 2 : 1;
  const scales = attributes.floats('scales') ?? (inputs[place] ? constants.floats?.(node, place) : undefined);
  const shape: Dimension[] = [...open];
  for (const [i, axis] of axes.entries()) {
    const [own, scale] = [first[at(axis, first.length)], scales?.[i]];
    const size =
      sizes?.[i] ??
      (scale === 1 && !inputs[3] ? own : undefined) ??
      (scale !== undefined && typeof own === 'number' && !inputs[3] ? Math.floor(own * scale) : undefined);
    shape[at(axis, first.length)] = size;
  }
  return shape;
}

/** An Einsum of at most two operands whose letters are all written out. */
function contracted(node: Node, shapes: readonly (Shape | undefined)[]): Shape | undefined {
  const [terms = '', result] = node.attributes.string('equation', '').replaceAll(' ', '').split('->');
  const lists = terms.split(',');
  if (result === undefined || terms.includes('.') || lists.length !== node.inputs.length || lists.length > 2)
    return undefined;
  const sizes = new Map<string, Dimension>();
  for (const [i, letters] of lists.entries()) {
    for (const [axis, letter] of [...letters].entries()) {
      const [known, dim] = [sizes.get(letter), shapes[i]?.[axis]];
      if (known === undefined || known === 1) sizes.set(letter, dim);
    }
  }
  return [...result].map((letter) => sizes.get(letter));
}
