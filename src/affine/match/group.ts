import type { Node } from '../../graph/index.js';
import type { ValueKeys } from '../../graph/names/value-keys.js';
import { stemOf } from '../factor-names.js';
import { type Expressed, type Measure, partsOf, type Segment } from '../map/expression.js';
import { isDiagonal, isPointwise } from '../map/geometry.js';
import { rearrangements } from '../map/rearrange.js';
import { factorizedSite } from '../note.js';
import { isRefusal, type Refusal, refuse } from '../refusal.js';
import type { AffineOperator } from '../rule.js';
import { CostBefore, costWith, isPointwiseTarget, type Pointwise, type Score, targetOf } from './cost.js';
import type { SourceFrame, Sources } from './frames.js';
import { keptOf } from './kept.js';
import { keysOf, type Region, vectorShape } from './region.js';
import type { AffineGraph } from './segments.js';

/** A region that a partition may choose; what of it the choice does not need is made once it is chosen. */
export interface Candidate {
  readonly score: Score;
  /** True where it multiplies and adds one number a channel. */
  readonly isPointwise: boolean;
  readonly region: () => Region;
}

/** What all groups of a graph are judged by. */
export interface Judgement {
  readonly affine: AffineGraph;
  readonly sources: Sources;
  /** Take what costs more, too. */
  readonly force: boolean;
  readonly keys: ValueKeys;
}

/**
 * Consecutive segments, looked at in one way, that grow by one at a time. What the choice of a region depends on is
 * carried along, so that each growth is as cheap as the first.
 */
export class Group {
  readonly #judgement: Judgement;
  readonly #way: SourceFrame;
  readonly #source: string;
  readonly #nodes: Node[] = [];
  readonly #measures: Measure[] = [];
  readonly #before = new CostBefore();
  /** Positions of the source for one of the output. */
  #volume = 1;
  /** The last of the nodes with the largest weight, and those that carry what has no weight. */
  #heaviest: Node | undefined;
  #largest = -1;
  readonly #last: Partial<Record<NonNullable<AffineOperator['pointwise']>, Node>> = {};
  #hasConv = false;
  #usesRunningStatistics = false;
  readonly #pointwise = { hasNorm: false, hasScale: false, isPossible: false, isUniform: true };
  /** Factors, those with a bias, and those behind the first with a kernel; whether the last has a bias. */
  readonly #factors = { count: 0, biases: 0, kernels: 0, endsInBias: false };
  readonly #stems = new Set<string | undefined>();
  /** Factorized layers, and the one of which two factors are here. */
  readonly #factorized = new Set<string>();
  #undone: string | undefined;

  constructor(judgement: Judgement, way: SourceFrame, source: string) {
    this.#judgement = judgement;
    this.#way = way;
    this.#source = source;
  }

  get size(): number {
    return this.#nodes.length;
  }

  /** Takes in the segment that follows. */
  add({ nodes }: Segment, { expression, measures }: Expressed): void {
    const { operators } = this.#judgement.affine;
    for (const node of nodes) {
      const operator = operators.get(node);
      if (operator !== undefined) this.#addNode(node, operator);
    }
    for (const own of measures) {
      const measure = { ...own, volume: own.volume * this.#volume };
      this.#measures.push(measure);
      const operator = operators.get(own.node);
      if (operator !== undefined) this.#before.add(measure, operator);
    }
    for (const part of partsOf(expression)) if (part.kind === 'step') this.#addFactor(part.operator);
    this.#volume *= expression.geometry.stride.reduce((product, step) => product * step, 1);
  }

  #addNode(node: Node, operator: AffineOperator): void {
    this.#nodes.push(node);
    const site = factorizedSite(node);
    if (site !== undefined) {
      if (this.#factorized.has(site)) this.#undone = site;
      this.#factorized.add(site);
    }
    const { constants, mixing, pointwise, data, signs, isTraining } = operator;
    if (pointwise !== undefined && constants.length > 0) this.#last[pointwise] = node;
    if (mixing !== undefined) {
      const size = mixing.weight.shape.reduce((product, dim) => product * dim, 1);
      if (size >= this.#largest) [this.#heaviest, this.#largest] = [node, size];
    }
    if (node.is('Conv', 'ConvTranspose')) this.#hasConv = true;
    if (isTraining) this.#usesRunningStatistics = true;
    const all = this.#pointwise;
    if (pointwise === 'normalization') all.hasNorm = true;
    if (pointwise === 'factor' || data.length > 1 || signs?.[0] === -1) all.hasScale = true;
    if (constants.length > 0) all.isPossible = true;
    const isUniform =
      pointwise !== 'normalization' && constants.every(({ shape }) => shape.every((dim) => dim === 1));
    if (!isUniform) all.isUniform = false;
  }

  #addFactor({ mixing, node }: AffineOperator): void {
    if (mixing === undefined) return;
    const { axis, weight, bias } = mixing;
    const factors = this.#factors;
    factors.endsInBias = bias !== undefined;
    if (factors.endsInBias) factors.biases += 1;
    if (factors.count > 0 && axis === 'channel' && weight.shape.slice(2).some((extent) => extent > 1))
      factors.kernels += 1;
    factors.count += 1;
    this.#stems.add(stemOf(node.name));
  }

  /**
   * What chains of factors have not: a bias before the end, a kernel behind the start, names of several sites. Where
   * hidden layers have the width of a boundary, cuts at each of them cost the same; then the one counts that looks like
   * a boundary of what was expanded.
   */
  #oddities(): number {
    const { biases, kernels, endsInBias } = this.#factors;
    return biases - (endsInBias ? 1 : 0) + kernels + Math.max(0, this.#stems.size - 1);
  }

  /**
   * The group as a region; undefined where one node would be no less than what is there, a refusal where it would be
   * more.
   */
  candidate(
    output: string,
    { expression, layout }: Pick<Expressed, 'expression' | 'layout'>,
  ): Candidate | Refusal | undefined {
    const { affine, sources, force, keys } = this.#judgement;
    const { operators, graph, inexact } = affine;
    const { frame, head } = this.#way;
    const source = this.#source;
    const count = this.#nodes.length;
    const [first, last] = [this.#nodes[0], this.#nodes.at(-1)];
    if (first === undefined || last === undefined) return undefined;
    if (this.#undone !== undefined)
      return refuse('cost', `it holds the factors of '${this.#undone}', which compress made smaller`);
    const known = inexact?.get(last)?.get(source);
    if (known !== undefined) return refuse(known.kind, known.reason);
    const { geometry } = expression;
    const pointwise: Pointwise | undefined = this.#heaviest ? undefined : { ...this.#pointwise };
    // Without a weight it has to be one number a channel, or two.
    if (pointwise && !(pointwise.isPossible && isDiagonal(geometry) && isPointwise(geometry)))
      return undefined;
    // Vectors would only grow.
    if (pointwise && head.length > 0) return undefined;
    const tail = layout === undefined ? [] : rearrangements(layout, last.label);
    if (isRefusal(tail)) return tail;
    // A node that relabels alone belongs to a region only where it comes to nothing in it.
    const isEdge = [first, last].some((node) => {
      const operator = operators.get(node);
      return operator !== undefined && 'relabelling' in operator;
    });
    if (isEdge && tail.length > 0) return undefined;
    const makesConv = pointwise === undefined && frame.axis === 'channel' && !this.#hasConv;
    if (makesConv && frame.type !== 'float32' && frame.type !== 'float16')
      return refuse('unsupported', `runtimes have products of matrices in ${frame.type}, but no Conv`);
    const carrier = this.#heaviest ?? this.#last.normalization ?? this.#last.factor ?? this.#last.summand;
    if (carrier === undefined) return undefined;
    const before = this.#before.total(geometry);
    const bare = targetOf(geometry, frame, pointwise ?? { prefersGemm: carrier.is('Gemm') }, { head, tail });
    const biasShape = (): readonly number[] => vectorShape({ frame, expression, target: bare });
    if (geometry.isOpen && keptOf(expression, bare.main, biasShape()).bias === undefined)
      return refuse('operand', `the bias of '${last.label}' is no constant vector`);
    const after = bare.cost;
    // MatMul and Add are what MatMul and Add become.
    if (after.nodes >= before.nodes && after.weights >= before.weights) return undefined;
    const isDearer = after.weights > before.weights || after.multiplyAdds > before.multiplyAdds;
    if (isDearer && !force) {
      const [what, were, would] =
        after.weights > before.weights
          ? ['weights', before.weights, after.weights]
          : ['multiply-adds per output position', before.multiplyAdds, after.multiplyAdds];
      return refuse('cost', `one ${bare.main} would have ${would} ${what}, the ${count} nodes have ${were}`);
    }
    const usesRunningStatistics = this.#usesRunningStatistics;
    const { weights, nodes } = after;
    const region = (): Region => {
      const shape = biasShape();
      const kept = keptOf(expression, bare.main, shape);
      const target = { ...bare, cost: costWith(bare, kept, geometry, shape) };
      return {
        graph,
        source,
        output,
        nodes: this.#nodes.slice(0, count),
        carrier,
        frame,
        shape: sources.shapeOf(source),
        expression,
        measures: this.#measures.slice(0, count),
        head,
        tail,
        target,
        kept,
        before,
        usesRunningStatistics,
        keys: keysOf(expression, pointwise ? frame : undefined, target, keys),
      };
    };
    const score = { weights, nodes, arranged: head.length > 0 ? 1 : 0, oddities: this.#oddities() };
    return { score, isPointwise: isPointwiseTarget(bare), region };
  }
}
