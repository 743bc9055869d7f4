import type { Expressed, Measure, Operators } from '../map/expression.js';
import { type Geometry, gridOf, strideVolume } from '../map/geometry.js';
import { channelAxis } from '../map/layout.js';
import type { Frame } from '../map/place.js';
import type { Rearrangement } from '../map/rearrange.js';
import type { AffineOperator } from '../rule.js';
import type { Kept } from './kept.js';

export interface Cost {
  /** Nodes, without Dropout, which does nothing in inference but may be trained on. */
  readonly nodes: number;
  /** Elements of the weights that mix channels. */
  readonly weights: number;
  /** Elements of all constants: weights, biases, statistics. */
  readonly parameters: number;
  /** Multiply-adds for one position of the output (for one row, of matrices). */
  readonly multiplyAdds: number;
}

/** What a partition of nodes leaves. Of two the first figure that differs decides, nodes before weights where all is to be folded. */
export interface Score {
  readonly weights: number;
  readonly nodes: number;
  /** Regions that give their source other axes first. */
  readonly arranged: number;
  /** What a chain of factors would not have. */
  readonly oddities: number;
}

/** What nodes cost as they are, added up node by node. */
export class CostBefore {
  /** By name: what several nodes read counts once. */
  readonly #constants = new Map<string, { readonly size: number; readonly isWeight: boolean }>();
  /** Work by the positions of the source that there are for one of the node's output. */
  readonly #work = new Map<number, number>();
  #nodes = 0;
  #weights = 0;
  #parameters = 0;

  add({ node, work, volume }: Measure, operator: AffineOperator): void {
    if (!node.is('Dropout')) this.#nodes += 1;
    if (work !== 0) this.#work.set(volume, (this.#work.get(volume) ?? 0) + work);
    for (const constant of operator.constants) {
      const size = constant.shape.reduce((product, dim) => product * dim, 1);
      const isWeight = operator.mixing?.weight === constant;
      const known = this.#constants.get(constant.value);
      this.#constants.set(constant.value, { size, isWeight });
      this.#parameters += size - (known?.size ?? 0);
      this.#weights += (isWeight ? size : 0) - (known?.isWeight ? known.size : 0);
    }
  }

  /** @param geometry of all nodes: one in front of a stride works at more places than there are in the output */
  total(geometry: Geometry): Cost {
    const whole = strideVolume(geometry);
    let multiplyAdds = 0;
    for (const [volume, work] of this.#work) multiplyAdds += (work * whole) / volume;
    return { nodes: this.#nodes, weights: this.#weights, parameters: this.#parameters, multiplyAdds };
  }
}

/** What the nodes of an expression cost as they are. */
export function costBefore({ expression, measures }: Expressed, operators: Operators): Cost {
  const cost = new CostBefore();
  for (const measure of measures) {
    const operator = operators.get(measure.node);
    if (operator !== undefined) cost.add(measure, operator);
  }
  return cost.total(expression.geometry);
}

/** Operators with numbers of their own. */
type MainOperator = 'Conv' | 'ConvTranspose' | 'Gemm' | 'MatMul' | 'BatchNormalization' | 'Mul' | 'Add';

/** What stands in for the nodes of an expression. */
export interface Target {
  /** Operators in the order of application. */
  readonly operators: readonly (MainOperator | 'Transpose' | 'Flatten' | 'Reshape')[];
  /** The one that has the numbers; of a matrix with an Add, the matrix. */
  readonly main: MainOperator | undefined;
  /** True for one number in place of one a channel. */
  readonly isUniform?: boolean;
  readonly cost: Cost;
}

/** Of nodes without a weight that mixes channels. */
export interface Pointwise {
  readonly hasNorm: boolean;
  /** Something multiplies. */
  readonly hasScale: boolean;
  /** Something is read from constants. */
  readonly isPossible: boolean;
  /** All constants are single numbers, so that the channels, and how many there are, are no matter. */
  readonly isUniform: boolean;
}

/** True for a target that multiplies and adds one number a channel. */
export function isPointwiseTarget({ main }: Pick<Target, 'main'>): boolean {
  return main === 'BatchNormalization' || main === 'Mul' || main === 'Add';
}

/** What a target costs that takes over a bias: that one's elements in the place of its own. */
export function costWith(
  { main, cost }: Target,
  { bias }: Kept,
  { hasBias, outputs }: Pick<Geometry, 'hasBias' | 'outputs'>,
  shape: readonly number[],
): Cost {
  if (bias === undefined || main === 'BatchNormalization') return cost;
  const sizeOf = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);
  const counted = hasBias ? (isPointwiseTarget({ main }) ? sizeOf(shape) : outputs) : 0;
  return { ...cost, parameters: cost.parameters - counted + sizeOf(bias.constant?.shape ?? [0]) };
}

const REARRANGING = { transpose: 'Transpose', flatten: 'Flatten', reshape: 'Reshape' } as const;

/**
 * The one node (two, for a matrix with a bias whose input is no matrix) that a map becomes, and what brings its output's
 * axes into their order.
 */
export function targetOf(
  geometry: Geometry,
  frame: Frame,
  kind: Pointwise | { readonly prefersGemm: boolean },
  { head, tail }: { readonly head: readonly Rearrangement[]; readonly tail: readonly Rearrangement[] },
): Target {
  const { operators, main, cost, isUniform } =
    'prefersGemm' in kind
      ? mapTarget(geometry, frame, kind.prefersGemm)
      : pointwiseTarget(geometry, frame, kind);
  return {
    main,
    ...(isUniform && { isUniform }),
    operators: [
      ...head.map(({ kind }) => REARRANGING[kind]),
      ...operators,
      ...tail.map(({ kind }) => REARRANGING[kind]),
    ],
    cost: { ...cost, nodes: cost.nodes + head.length + tail.length },
  };
}

function pointwiseTarget(
  { outputs, hasBias }: Geometry,
  { axis, rank }: Frame,
  { hasNorm, hasScale, isUniform }: Pointwise,
): Target {
  if (hasNorm && rank !== undefined && channelAxis(axis, rank) === 1) {
    return {
      main: 'BatchNormalization',
      operators: ['BatchNormalization'],
      cost: { nodes: 1, weights: 0, parameters: 4 * outputs, multiplyAdds: outputs },
    };
  }
  const operators: ('Mul' | 'Add')[] = [];
  if (hasScale || hasNorm) operators.push('Mul');
  if (hasBias) operators.push('Add');
  const count = operators.length;
  const size = isUniform ? 1 : outputs;
  return {
    main: operators[0],
    operators,
    isUniform,
    cost: { nodes: count, weights: 0, parameters: count * size, multiplyAdds: count * outputs },
  };
}

function mapTarget(geometry: Geometry, frame: Frame, prefersGemm: boolean): Target {
  const { inputs, outputs, groups, hasBias, isOpen, isTransposed } = geometry;
  const bias = hasBias ? outputs : 0;
  if (frame.axis === 'channel') {
    const window = gridOf(geometry).extents.reduce((product, extent) => product * extent, 1);
    const weights = outputs * (inputs / groups) * window;
    const main = geometry.upsampling === undefined ? 'Conv' : 'ConvTranspose';
    const multiplyAdds = geometry.upsampling === undefined ? weights : weights * strideVolume(geometry);
    return {
      main,
      operators: [main],
      cost: { nodes: 1, weights, parameters: weights + bias, multiplyAdds },
    };
  }
  if (frame.batch !== undefined) {
    const weights = (outputs * inputs) / groups;
    return {
      main: 'MatMul',
      operators: ['MatMul'],
      cost: { nodes: 1, weights, parameters: weights, multiplyAdds: weights / groups },
    };
  }
  const weights = outputs * inputs;
  const isGemm =
    frame.axis === 'last' && (isTransposed || (frame.rank === 2 && (hasBias || isOpen || prefersGemm)));
  if (isGemm) {
    return {
      main: 'Gemm',
      operators: ['Gemm'],
      cost: { nodes: 1, weights, parameters: weights + bias, multiplyAdds: weights },
    };
  }
  return {
    main: 'MatMul',
    operators: hasBias ? ['MatMul', 'Add'] : ['MatMul'],
    cost: { nodes: hasBias ? 2 : 1, weights, parameters: weights + bias, multiplyAdds: weights + bias },
  };
}
