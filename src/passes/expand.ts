import { findLinearSites, type LinearSite } from '../analysis/linear-sites.js';
import {
  EPSILON,
  type FloatType,
  type Graph,
  type Model,
  type Node,
  type NodeSpec,
  type Pass,
  Scratch,
  Tensor,
  narrow,
} from '../graph/index.js';
import { evaluateConstant } from '../runtime/constant.js';
import type { Matrix } from '../runtime/matmul.js';
import { Random } from '../runtime/random.js';
import type { OnProgress, Skipped } from './account.js';
import { type ChainNote, chainMetadata } from './chain-note.js';
import { balancedFactors, identityFactors } from './factorize.js';
import { describeSource, removeUnread } from './weight-source.js';

const NAME = 'expand';

export const EXPAND_INITS = ['balanced', 'identity'] as const;
export type ExpandInit = (typeof EXPAND_INITS)[number];

export interface ExpandOptions {
  /** Linear layers per chain, >= 1; 1 changes nothing. */
  readonly depth?: number;
  /** Hidden width of a chain relative to the outputs of its site (of each group), > 0. */
  readonly width?: number;
  /**
   * 'balanced': the factors satisfy W_{i+1}^T W_{i+1} = W_i W_i^T (Arora, Cohen & Hazan 2018).
   * 'identity': the weight as one factor, identities for the rest.
   */
  readonly init?: ExpandInit;
  /** Seed of the weights of hidden units beyond the rank. */
  readonly seed?: number;
  /** Match only: the account says what would be done, the model is not changed. */
  readonly dryRun?: boolean;
  readonly onProgress?: OnProgress | undefined;
}

export const EXPAND_DEFAULTS = {
  depth: 2,
  width: 1,
  init: 'balanced',
  seed: 0,
  dryRun: false,
  onProgress: undefined,
} as const satisfies Required<ExpandOptions>;

/** One site that became a chain. */
export interface ExpandedSite {
  readonly node: string;
  readonly op: string;
  readonly weight: string;
  /** The weight as a matrix, as it is stored. */
  readonly rows: number;
  readonly columns: number;
  /** Singular values above the rounding of the weight's type (the largest of the groups); unknown in a dry run. */
  readonly rank: number | undefined;
  /** Units (channels) of each hidden layer. */
  readonly hidden: number;
  readonly depth: number;
  readonly parametersBefore: number;
  readonly parametersAfter: number;
  /** Names of the chain's nodes. */
  readonly nodes: readonly string[];
}

export interface ExpandAccount {
  readonly rewritten: readonly ExpandedSite[];
  readonly skipped: readonly Skipped[];
}

/**
 * Replaces every Gemm, MatMul and Conv with a constant weight by a chain of `depth` linear nodes that computes the
 * same function. Bias, alpha and beta stay on the last factor; a convolution's kernel, padding, stride and dilation
 * on the first, the others are 1x1 of the same groups. (Huh et al., "The Low-Rank Simplicity Bias in Deep
 * Networks", TMLR 2023, arXiv 2103.10427.)
 *
 * @throws RangeError for options out of range
 * @example
 * const model = await readModel('model.onnx');
 * const [account] = await model.apply(expand({ depth: 3 }));
 * await saveModel(model, 'expanded.onnx');
 */
export function expand(options: ExpandOptions = {}): Pass<ExpandAccount> {
  const settings = { ...EXPAND_DEFAULTS, ...options };
  if (!Number.isInteger(settings.depth) || settings.depth < 1) {
    throw new RangeError(`depth must be a whole number of at least 1, not ${settings.depth}`);
  }
  if (!(settings.width > 0) || !Number.isFinite(settings.width)) {
    throw new RangeError(`width must be a positive number, not ${settings.width}`);
  }
  if (!EXPAND_INITS.includes(settings.init)) {
    throw new RangeError(`init must be one of ${EXPAND_INITS.join(', ')}, not ${settings.init}`);
  }
  return { name: NAME, run: (model) => new Expansion(model, settings).run() };
}

type Settings = Required<ExpandOptions>;

/** A site that is to become a chain. */
interface Match {
  readonly site: LinearSite;
  readonly hidden: number;
}

/** The tensors of a chain, in the order of application; shared by the sites that share the weight. */
interface Chain {
  readonly tensors: readonly Tensor[];
  readonly rank: number;
}

class Expansion {
  readonly #model: Model;
  readonly #settings: Settings;
  /** Chains by weight, so that a weight that several sites share is factorized once and stays shared. */
  readonly #chains = new Map<string, Chain | { readonly reason: string }>();

  constructor(model: Model, settings: Settings) {
    this.#model = model;
    this.#settings = settings;
  }

  async run(): Promise<ExpandAccount> {
    const { sites, others } = findLinearSites(this.#model);
    const rewritten: ExpandedSite[] = [];
    const skipped: Skipped[] = others.map(({ node, reason }) => ({ node: node.label, op: node.opType, reason }));
    if (this.#settings.depth === 1) return { rewritten, skipped };
    const expanded: LinearSite[] = [];
    for (const [done, site] of sites.entries()) {
      this.#settings.onProgress?.({ done, total: sites.length, what: site.node.label });
      const found = match(site, this.#settings);
      const result = 'reason' in found ? found : await this.#expandSite(found);
      if ('reason' in result) skipped.push({ node: site.node.label, op: site.op, reason: result.reason });
      else {
        rewritten.push(result);
        expanded.push(site);
      }
    }
    if (!this.#settings.dryRun) for (const site of expanded) removeUnread(site.weight);
    return { rewritten, skipped };
  }

  async #expandSite({ site, hidden }: Match): Promise<ExpandedSite | { readonly reason: string }> {
    const { depth, dryRun } = this.#settings;
    const { node } = site;
    const base = node.label;
    const summary = {
      node: base,
      op: site.op,
      weight: site.weight.value,
      rows: site.rows,
      columns: site.columns,
      hidden,
      depth,
      parametersBefore: site.rows * site.columns,
      parametersAfter: chainParameters(site, hidden, depth),
    };
    if (dryRun) {
      const nodes = Array.from({ length: depth }, (_, i) => `${base}/overparam/${i}`);
      return { ...summary, rank: undefined, nodes };
    }
    const key = JSON.stringify([site.weight.value, site.orientation, site.groups, site.rows, hidden]);
    let chain = this.#chains.get(key);
    if (chain === undefined) {
      chain = await this.#factorize(site, hidden);
      this.#chains.set(key, chain);
    }
    if ('reason' in chain) return chain;
    const nodes = insertChain(this.#model, site, chain.tensors);
    return { ...summary, rank: chain.rank, nodes: nodes.map((inserted) => inserted.name) };
  }

  async #factorize(site: LinearSite, hidden: number): Promise<Chain | { readonly reason: string }> {
    const { depth, width, init, seed } = this.#settings;
    const tensor = await evaluateConstant(site.weight.graph, site.weight.value);
    const type = tensor.dataType as FloatType;
    const values = tensor.floats();
    const { groups, columns } = site;
    const rows = site.rows / groups;
    const perGroup = hidden / groups;
    // Per factor, in the order of multiplication: the blocks of the groups, one behind the other.
    const blocks: Matrix[][] = Array.from({ length: depth }, () => []);
    let rank = 0;
    for (let group = 0; group < groups; group += 1) {
      const data = values.subarray(group * rows * columns, (group + 1) * rows * columns);
      const matrix: Matrix = { rows, columns, data };
      const random = new Random(`${seed}/${site.weight.value}/${group}`);
      let result: Awaited<ReturnType<typeof balancedFactors>>;
      try {
        result =
          init === 'balanced'
            ? await balancedFactors(matrix, site.orientation, depth, perGroup, EPSILON[type], random)
            : identityFactors(matrix, site.orientation, depth, perGroup, random);
      } catch (error) {
        if (error instanceof RangeError) return { reason: `its weight ${error.message}` };
        throw error;
      }
      if (result.factors === undefined) {
        const outputs = site.orientation === 'out-in' ? rows : columns;
        const enough = Math.ceil((result.rank / outputs) * 1e4) / 1e4;
        return {
          reason: `its weight has rank ${result.rank}, more than the ${perGroup} hidden units of width ${width}; use --width ${enough} or more`,
        };
      }
      rank = Math.max(rank, result.rank);
      for (const [i, factor] of result.factors.entries()) blocks[i]?.push(factor);
    }
    this.#model.scratch ??= new Scratch();
    const scratch = this.#model.scratch;
    const ordered = site.orientation === 'out-in' ? blocks.reverse() : blocks;
    const tensors = ordered.map((factor, i) => {
      const name = this.#model.freshName(`${site.weight.value}/overparam/${i}`);
      const array = narrow(type, joined(factor));
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      const total = { rows: sum(factor.map((block) => block.rows)), columns: factor[0]?.columns ?? 0 };
      return Tensor.of(name, type, factorShape(site, total, i), scratch.put(bytes));
    });
    return { tensors, rank };
  }
}

/** Whether a site can be expanded, and its hidden width; pure. */
function match(site: LinearSite, settings: Settings): Match | { readonly reason: string } {
  const outputs = site.orientation === 'out-in' ? site.rows : site.columns;
  if (site.op === 'ConvTranspose') return { reason: 'ConvTranspose is not expanded' };
  if (site.rows * site.columns === 0) return { reason: 'its weight has no elements' };
  const perGroup = Math.max(1, Math.round((settings.width * outputs) / site.groups));
  if (!site.node.outputs[0]) return { reason: 'nothing reads its output' };
  return { site, hidden: perGroup * site.groups };
}

function chainParameters(site: LinearSite, hidden: number, depth: number): number {
  const { groups, rows, columns, orientation } = site;
  const outputs = orientation === 'out-in' ? rows : columns;
  const inputs = orientation === 'out-in' ? columns : rows;
  return hidden * inputs + ((depth - 2) * hidden * hidden) / groups + (outputs * hidden) / groups;
}

/** The shape of a factor's tensor: a matrix, or a convolution kernel that is 1x1 behind the first. */
function factorShape(site: LinearSite, total: { rows: number; columns: number }, index: number): number[] {
  const { rows, columns } = total;
  if (site.op !== 'Conv') return [rows, columns];
  const extents = index === 0 ? site.kernel : site.kernel.map(() => 1);
  const inChannels = index === 0 ? (site.weight.shape[1] ?? 0) : columns;
  return [rows, inChannels, ...extents];
}

/** Puts the chain in the place of the site's node. */
function insertChain(model: Model, site: LinearSite, tensors: readonly Tensor[]): Node[] {
  const { node } = site;
  const { graph } = node;
  const home = site.weight.graph;
  const source = describeSource(site.weight);
  // A function has no initializers: there the factors are Constant nodes in front of the chain.
  const constants: NodeSpec[] = [];
  if (home.kind === 'function') {
    for (const tensor of tensors) {
      constants.push({
        opType: 'Constant',
        name: tensor.name,
        inputs: [],
        outputs: [tensor.name],
        attributes: { value: { tensor } },
      });
    }
  } else home.edit({ setInitializers: tensors });
  const chain: NodeSpec[] = [];
  let input = node.inputs[1 - site.weightInput] ?? '';
  for (const [i, tensor] of tensors.entries()) {
    const isLast = i === tensors.length - 1;
    const name = model.freshName(`${node.label}/overparam/${i}`);
    const output = isLast ? (node.outputs[0] ?? '') : model.freshName(`${name}/out`);
    const note: ChainNote = {
      site: node.name,
      factor: i,
      of: tensors.length,
      weight: site.weight.value,
      ...(i === 0 && source && { source }),
    };
    chain.push(factorNode(site, { index: i, isLast, name, input, weight: tensor.name, output, note }));
    input = output;
  }
  const zero = chain.some((spec) => spec.inputs.includes(ZERO_BIAS)) ? zeroBias(graph, site) : undefined;
  const inserted = graph.edit({
    removeNodes: [node],
    insertNodes: [...constants, ...(zero?.node ? [zero.node] : []), ...chain],
    ...(zero?.tensor && { setInitializers: [zero.tensor] }),
  });
  return inserted.slice(-chain.length);
}

interface FactorPlace {
  readonly index: number;
  readonly isLast: boolean;
  readonly name: string;
  readonly input: string;
  readonly weight: string;
  readonly output: string;
  readonly note: ChainNote;
}

/** The bias of Gemm factors that need none: before opset 11, Gemm has no optional C. */
const ZERO_BIAS = 'onnx-overparam/zero';

function zeroBias(graph: Graph, site: LinearSite): { node?: NodeSpec; tensor?: Tensor } | undefined {
  if (graph.resolve(ZERO_BIAS) !== undefined) return undefined;
  const type = site.weight.dataType as FloatType;
  const tensor = Tensor.of(ZERO_BIAS, type, [1], narrow(type, new Float32Array(1)));
  if (graph.kind === 'graph') return { tensor };
  return {
    node: { opType: 'Constant', inputs: [], outputs: [ZERO_BIAS], attributes: { value: { tensor } } },
  };
}

/** One node of a chain. The last carries what the site's node had besides its weight. */
function factorNode(site: LinearSite, place: FactorPlace): NodeSpec {
  const { node } = site;
  const metadata = { ...(place.isLast && Object.fromEntries(node.metadata)), ...chainMetadata(place.note) };
  const common = { opType: site.op, name: place.name, outputs: [place.output], metadata };
  const docString = place.isLast ? node.proto.doc_string : undefined;
  const rest = place.isLast ? node.inputs.slice(2) : [];
  const spec = ((): NodeSpec => {
    switch (site.op) {
      case 'MatMul': {
        const inputs = site.weightInput === 1 ? [place.input, place.weight] : [place.weight, place.input];
        return { ...common, inputs };
      }
      case 'Gemm': {
        const { attributes } = node;
        const opset = site.node.graph.model.opset();
        const needsBias = !place.isLast && opset < 11;
        const own: Record<string, AttributeEntry> = {};
        if (place.index === 0 && attributes.has('transA')) own.transA = { int: attributes.int('transA', 0) };
        if (attributes.has('transB')) own.transB = { int: attributes.int('transB', 0) };
        if (place.isLast && attributes.has('alpha')) own.alpha = { float: attributes.float('alpha', 1) };
        if (place.isLast && attributes.has('beta')) own.beta = { float: attributes.float('beta', 1) };
        if (opset < 7) own.broadcast = { int: needsBias ? 1 : attributes.int('broadcast', 0) };
        return {
          ...common,
          inputs: [place.input, place.weight, ...(needsBias ? [ZERO_BIAS] : rest)],
          attributes: own,
        };
      }
      default: {
        const pointwise: Record<string, AttributeEntry> = {
          kernel_shape: { ints: site.kernel.map(() => 1) },
          ...(site.groups > 1 && { group: { int: site.groups } }),
        };
        return {
          ...common,
          inputs: [place.input, place.weight, ...rest],
          ...(place.index > 0 && { attributes: pointwise }),
        };
      }
    }
  })();
  // The first factor of a convolution keeps the attributes as they were written.
  const copied = site.op === 'Conv' && place.index === 0 ? { attributeProtos: node.proto.attribute ?? [] } : {};
  return { ...spec, ...copied, ...(docString !== undefined && { docString }) };
}

type AttributeEntry = { readonly int: number } | { readonly ints: readonly number[] } | { readonly float: number };

function joined(blocks: readonly Matrix[]): Float32Array | Float64Array {
  const [first] = blocks;
  if (first === undefined) return new Float32Array(0);
  if (blocks.length === 1) return first.data;
  const length = sum(blocks.map((block) => block.data.length));
  const out = blocks.some((block) => block.data instanceof Float64Array) ? new Float64Array(length) : new Float32Array(length);
  let offset = 0;
  for (const block of blocks) {
    out.set(block.data, offset);
    offset += block.data.length;
  }
  return out;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
