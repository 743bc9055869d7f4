import { operatorsWith, permutationOf } from '../operators/index.js';
import type { Node } from '../types.js';

/** How a node gives its input other axes without computing anything. */
export type Relabelling =
  | { readonly kind: 'transpose'; permutation(rank: number): readonly number[] }
  | { readonly kind: 'reshape'; readonly target: readonly number[]; readonly allowsZero: boolean }
  | { readonly kind: 'flatten'; readonly axis: number }
  /** Without axes: all of size 1. */
  | { readonly kind: 'squeeze'; readonly axes: readonly number[] | undefined }
  | { readonly kind: 'unsqueeze'; readonly axes: readonly number[] };

/** The operators of which `relabellingOf` tells. */
export const RELABELLING = operatorsWith('relabels');

/** Who knows the numbers of constant lists: KnownConstants, or a search for them that is under way. */
export interface KnownIntegers {
  /** A constant list of integers that a node reads; undefined where it is none. */
  integers(node: Node, index: number): readonly number[] | undefined;
  /** The same of float32. */
  floats?(node: Node, index: number): readonly number[] | undefined;
}

/** What a node does to the axes; undefined where its shape or axes are computed. */
export function relabellingOf(node: Node, constants: KnownIntegers): Relabelling | undefined {
  const { attributes } = node;
  const listed = (attribute: string): readonly number[] | undefined =>
    attributes.ints(attribute) ?? constants.integers(node, 1);
  switch (node.opType) {
    case 'Transpose':
      return { kind: 'transpose', permutation: (rank) => permutationOf(node, rank) };
    case 'Flatten':
      return { kind: 'flatten', axis: attributes.int('axis', 1) };
    case 'Reshape': {
      const target = listed('shape');
      const allowsZero = attributes.int('allowzero', 0) === 1;
      return target && { kind: 'reshape', target, allowsZero };
    }
    case 'Squeeze': {
      const axes = listed('axes');
      return axes === undefined && node.inputs[1] ? undefined : { kind: 'squeeze', axes };
    }
    case 'Unsqueeze': {
      const axes = listed('axes');
      return axes && { kind: 'unsqueeze', axes };
    }
    default:
      return undefined;
  }
}
