import { availableParallelism } from 'node:os';
import { factorName } from '../../affine/factor-names.js';
import { type LinearSite, taps } from '../../affine/linear-site.js';
import { findExpandableSites } from '../../affine/linear-sites.js';
import { type FreshName, imaginedNames } from '../../graph/edit/imagined-names.js';
import { inlineCalls } from '../../graph/edit/inline-functions.js';
import { byteLengthOf, type FloatType, type Graph, type Model, narrow, Tensor } from '../../graph/index.js';
import { whyTooLarge } from '../../graph/limits/memory-limit.js';
import { trainedNames } from '../../graph/names/trained-names.js';
import { ValueKeys } from '../../graph/names/value-keys.js';
import { bodyOf } from '../../graph/opsets.js';
import type { Reason, Skipped } from '../../graph/skipped.js';
import { isPooled, withEigenThreads } from '../../linalg/gram-eigen.js';
import { release } from '../../runtime/garbage.js';
import { asConstants, laterTensor, scratchTensor } from '../rewrite/placement.js';
import { behindIdentity, removeUnread } from '../rewrite/weight-source.js';
import { type ExpandAccount, type ExpandedSite, stayingElements } from './account.js';
import { factorizeSite, findingOf } from './factorize.js';
import type { FactorMaker, Finding, SiteFactors } from './factors.js';
import { ALONE, LookAhead } from './look-ahead.js';
import { type NormStatistics, shiftOf } from './normalization.js';
import { type ChainSettings, isPreserving, NOT_SELECTED, type RecipeRule } from './options.js';
import { type ChainPlan, chainParameters, factorSizes, planOf, splitAttributes } from './plan.js';
import { checkProduct } from './product-check.js';
import { ruleOf } from './recipe.js';
import { fittingPlan } from './residual.js';
import { Selection, type Settings } from './selection.js';
import { chainNodes, insertChain, needsZeroBias } from './write.js';

/** A site that is to become a chain. */
interface Match {
  readonly site: LinearSite;
  readonly settings: ChainSettings;
  readonly plan: ChainPlan;
}

/** A site of which all is found out that does not take the graph's being changed. */
interface Begun {
  readonly plan: ChainPlan;
  /** What tells its weight and the factors from others. */
  readonly key: string;
}

/** Eigenvectors, in bytes, of the sites that may be begun before their turn, by the processor: the next two of order 768 on two. */
const AHEAD_BYTES = 8 << 20;

/** The factors of a weight, by their names in its graph; in a dry run only named. */
interface Chain extends Finding {
  readonly weights: readonly string[];
  readonly projections: readonly string[];
  readonly norms: readonly NormStatistics[];
  readonly without: readonly string[];
  readonly largestError: number | undefined;
}

/** The work of expand on one model. */
export class Expansion {
  readonly #model: Model;
  readonly #settings: Settings;
  readonly #fresh: FreshName;
  readonly #keys = new ValueKeys();
  /** Chains by weight, so that a weight that several sites share is factorized once and stays shared. */
  readonly #chains = new Map<string, Chain | Reason>();
  /** What becomes of the weights of sites that are begun. */
  readonly #findings = new Map<string, Promise<Finding | SiteFactors | Reason>>();
  /** The elements that the account counted already. */
  readonly #counted = new Set<unknown>();
  readonly #zeros = new Map<string, string>();
  readonly #trained: ReadonlySet<string>;
  /** Of the factor that was made last. Only one is written at a time, since until then it is in memory. */
  #written: Promise<void> | undefined;

  constructor(model: Model, settings: Settings) {
    // A dry run puts functions in place, too, but not in the model that it is given.
    this.#model = settings.dryRun && model.functions.length > 0 ? model.clone() : model;
    this.#settings = settings;
    this.#fresh = settings.dryRun ? imaginedNames(this.#model) : (base) => model.freshName(base);
    this.#trained = trainedNames(model);
  }

  run(): Promise<ExpandAccount> {
    return withEigenThreads(async () => {
      try {
        return await this.#expandSites();
      } finally {
        await this.#written;
      }
    });
  }

  async #expandSites(): Promise<ExpandAccount> {
    const { calls, isUnmatched } = this.#inlineCalls();
    const { sites, others } = findExpandableSites(this.#model);
    const selection = new Selection(this.#settings);
    const rewritten: ExpandedSite[] = [];
    const recipe: RecipeRule[] = [];
    const skipped: Skipped[] = others.map(({ node, reason }) => ({
      node: node.label,
      op: node.opType,
      reason: selection.isSelected(node) ? reason : NOT_SELECTED,
    }));
    const expanded: LinearSite[] = [];
    const choices = sites.map((site) => {
      const chosen = selection.settingsFor(site.node, site.rows * site.columns);
      return { site, chosen, found: 'reason' in chosen ? chosen : match(site, chosen, this.#trained) };
    });
    const matches = choices.flatMap(({ found }) => ('reason' in found ? [] : [found]));
    if (!this.#settings.dryRun) this.#tellSize(matches, sites.length);
    const work = { cost: bytesAhead, begin: (found: Match) => this.#begin(found) };
    await using ahead = new LookAhead(matches, work, AHEAD_BYTES * availableParallelism());
    for (const [done, { site, chosen, found }] of choices.entries()) {
      const { node, op } = site;
      this.#settings.signal?.throwIfAborted();
      this.#settings.onProgress?.({ done, total: sites.length, what: node.label });
      const result = 'reason' in found ? found : await this.#expandSite(found, await ahead.next());
      if ('reason' in chosen) recipe.push(ruleOf(node.label, undefined));
      if ('reason' in result) skipped.push({ node: node.label, op, reason: result.reason });
      else {
        rewritten.push(result);
        if (!('reason' in chosen)) recipe.push(ruleOf(node.label, chosen));
        expanded.push(site);
      }
    }
    const staying = stayingElements(expanded);
    if (!this.#settings.dryRun) removeUnread(expanded.map(({ weight }) => weight));
    return {
      rewritten: rewritten.map((row, i) => {
        const kept = staying[i] ?? 0;
        return kept === 0 ? row : { ...row, parametersAfter: row.parametersAfter + kept };
      }),
      skipped,
      recipe,
      unmatched: selection.unmatched.filter(isUnmatched),
      inlined: calls,
    };
  }

  /** Of what is shared the size counts once. */
  #tellSize(matches: readonly Match[], total: number): void {
    const sizes = new Map(
      matches.map(({ site, plan }) => {
        const { graph, value } = behindIdentity(site.weight);
        const bytes = chainParameters(site, plan) * byteLengthOf(site.weight.dataType, 1);
        return [this.#keys.of(graph, value), bytes] as const;
      }),
    );
    const bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    this.#settings.onProgress?.({ done: 0, total, what: matches[0]?.site.node.label ?? '', bytes });
  }

  /** Brings the weights that functions of the model's own take as arguments in sight, as far as they become chains. */
  #inlineCalls(): { readonly calls: readonly string[]; readonly isUnmatched: (pattern: string) => boolean } {
    if (this.#model.functions.length === 0) return { calls: [], isUnmatched: () => true };
    const selection = new Selection(this.#settings);
    const isExpanded = (site: LinearSite): boolean => {
      const chosen = selection.settingsFor(site.node, site.rows * site.columns);
      return !('reason' in chosen) && !('reason' in match(site, chosen, this.#trained));
    };
    const calls = inlineCalls(this.#model, (plain) =>
      findExpandableSites(plain)
        .sites.filter(isExpanded)
        .map(({ node }) => [node]),
    );
    const unmatched = new Set(selection.unmatched);
    return { calls, isUnmatched: (pattern) => unmatched.has(pattern) };
  }

  /** Finds out what takes long of a site. It may be done ahead of its turn, for it changes nothing. */
  async #begin({ site, settings, plan: asked }: Match): Promise<Begun> {
    const plan = await fittingPlan(site, asked, settings);
    const { graph, value } = behindIdentity(site.weight);
    const { init, gain, noise, allowLossy } = settings;
    const parts = [
      this.#keys.of(graph, value),
      site.orientation,
      site.groups,
      plan,
      init,
      gain,
      noise,
      allowLossy,
    ];
    const key = JSON.stringify(parts);
    if (!this.#chains.has(key)) {
      const find = this.#settings.dryRun ? findingOf : factorizeSite;
      const finding = this.#findings.get(key) ?? find(site, plan, settings);
      this.#findings.set(key, finding);
      await finding;
    }
    return { plan, key };
  }

  async #expandSite({ site, settings }: Match, { plan, key }: Begun): Promise<ExpandedSite | Reason> {
    const { dryRun } = this.#settings;
    const { init } = settings;
    const { weight, op, rows, columns, node } = site;
    const stored = behindIdentity(weight);
    const value = this.#keys.of(stored.graph, stored.value);
    const known = this.#chains.get(key);
    const { chain, tensors } =
      known === undefined
        ? await this.#chainOf(site, stored.value, { plan, key }, settings)
        : { chain: known, tensors: [] };
    this.#chains.set(key, chain);
    if ('reason' in chain) return chain;
    const nodes = chainNodes(site, plan, this.#fresh);
    const zero = needsZeroBias(site) ? this.#zero(site) : undefined;
    if (!dryRun) {
      const norms = await this.#normTensors(site, plan, chain.norms);
      insertChain(site, plan, nodes, {
        names: chain.weights,
        projections: chain.projections,
        norms: norms.map((list) => list.map(({ name }) => name)),
        tensors: [...tensors, ...norms.flat()],
        home: stored.graph,
        zero,
      });
    }
    const isCounted = this.#counted.has(weight.root?.proto ?? value);
    this.#counted.add(weight.root?.proto ?? value);
    return {
      node: node.label,
      op,
      weight: weight.value,
      rows,
      columns,
      rank: chain.rank,
      hidden: plan.perGroup * site.groups,
      depth: plan.depth,
      init,
      isPreserved: isPreserving(settings) && chain.error === undefined,
      error: chain.error,
      largestError: chain.largestError,
      residuals: plan.skips.length,
      norms: plan.norms.length,
      without: [...plan.without, ...chain.without],
      parametersBefore: isCounted ? 0 : rows * columns,
      parametersAfter: known === undefined ? chainParameters(site, plan) : 0,
      nodes: nodes.map(({ name }) => name),
    };
  }

  /** Makes the factors of a weight that was factorized. */
  async #chainOf(
    { weight }: LinearSite,
    base: string,
    { plan: { depth }, key }: Begun,
    settings: ChainSettings,
  ): Promise<{ readonly chain: Chain | Reason; readonly tensors: readonly Tensor[] }> {
    const result = await this.#findings.get(key);
    this.#findings.delete(key);
    if (result === undefined) throw new RangeError(`${base} was not factorized`);
    if ('reason' in result) return { chain: result, tensors: [] };
    const names = Array.from({ length: depth }, (_, i) => this.#fresh(factorName(base, i)));
    if (!('factors' in result))
      return {
        chain: {
          ...result,
          weights: names,
          projections: [],
          norms: [],
          without: [],
          largestError: undefined,
        },
        tensors: [],
      };
    const type = weight.dataType as FloatType;
    const tensors: Tensor[] = [];
    for (const factor of result.factors) {
      tensors[factor.index] = await this.#store(factor, names[factor.index] as string, type);
    }
    const projections: Tensor[] = [];
    for (const { shape, data } of result.projections) {
      const name = this.#fresh(`${base}/overparam/project`);
      projections.push(await scratchTensor(this.#model, name, type, shape, data));
    }
    const { rank, error, norms, without } = result;
    await this.#written;
    const checked = await checkProduct(result, tensors, type, settings);
    if ('reason' in checked) return { chain: checked, tensors: [] };
    const namesOf = (list: readonly Tensor[]): string[] => list.map((tensor) => tensor.name);
    return {
      chain: {
        weights: namesOf(tensors),
        projections: namesOf(projections),
        norms,
        without,
        rank,
        error,
        ...checked,
      },
      tensors: [...tensors, ...projections],
    };
  }

  /** Scale, shift, mean and variance of each normalization: of their own for each site, as training makes them differ. */
  async #normTensors(
    site: LinearSite,
    plan: ChainPlan,
    norms: readonly NormStatistics[],
  ): Promise<Tensor[][]> {
    const type = site.weight.dataType as FloatType;
    const made: Tensor[][] = [];
    for (const statistics of norms) {
      const { factor, scale, variance } = statistics;
      const shift = await shiftOf(site, plan, statistics);
      const stem = factorName(site.node.label, factor);
      const numbers = { scale, shift, mean: shift, variance };
      made.push(
        Object.entries(numbers).map(([what, data]) => {
          const name = this.#fresh(`${stem}/norm/${what}`);
          return Tensor.of(name, type, [data.length], narrow(type, data));
        }),
      );
    }
    return made;
  }

  /** A function of its own, so that nothing holds a factor any more when the next one is made. */
  async #store(factor: FactorMaker, name: string, type: FloatType): Promise<Tensor> {
    const { shape, data, zeros = 0 } = await factor.make();
    await this.#written;
    const values = data.subarray(0, data.length - zeros);
    const { tensor, written } = laterTensor(this.#model, name, type, shape, values, zeros);
    this.#written = written?.then(() => {
      if (factor.isOwn) release(data);
    });
    // An error is told when the next factor is written, or at the end.
    this.#written?.catch(() => {});
    return tensor;
  }

  /** A zero of the site's type, in the main graph or function; made at the first call. */
  #zero(site: LinearSite): string {
    const body: Graph = bodyOf(site.node.graph);
    const type = site.weight.dataType as FloatType;
    const key = this.#keys.of(body, type);
    let name = this.#zeros.get(key);
    if (name !== undefined) return name;
    name = this.#fresh('onnx-overparam/zero');
    this.#zeros.set(key, name);
    if (!this.#settings.dryRun) {
      const tensor = Tensor.of(name, type, [1], narrow(type, new Float32Array(1)));
      const { nodes, initializers } = asConstants(body, [tensor]);
      body.edit({ insertNodes: nodes, before: body.nodes[0], setInitializers: initializers });
    }
    return name;
  }
}

/** Whether a site can be expanded, and to what; pure. */
function match(site: LinearSite, settings: ChainSettings, trained: ReadonlySet<string>): Match | Reason {
  const { node, weight } = site;
  const plan = planOf(site, settings);
  if (plan.depth === 1) return { reason: 'a chain of one layer is the layer itself; use `depth: 2` or more' };
  if (site.rows * site.columns === 0) return { reason: 'its weight has no elements' };
  if (!node.outputs[0]) return { reason: 'nothing reads its output' };
  if (weight.leaves.some((leaf) => trained.has(leaf.name)))
    return { reason: 'training_info names its weight' };
  const sharded = (node.proto.device_configurations ?? []).flatMap((device) => device.sharding_spec ?? []);
  if (sharded.some((spec) => spec.tensor_name === node.inputs[site.weightInput])) {
    return { reason: 'its device configuration shards its weight' };
  }
  const tooLarge = whyTooLargeFactor(site, plan);
  if (tooLarge !== undefined) return { reason: tooLarge };
  const attributes = plan.isSplit ? splitAttributes(site, plan) : undefined;
  if (attributes !== undefined && 'reason' in attributes) return attributes;
  return { site, plan, settings };
}

/** A factor is in memory as a whole, and a small model can have large ones: of a layer of few inputs and 50,000 outputs, say. */
function whyTooLargeFactor(site: LinearSite, plan: ChainPlan): string | undefined {
  const { groups, outputs, weight, matrixShape } = site;
  const elements = factorSizes(site, plan).map(
    (size) => groups * size.inputs * size.outputs * taps(size.kernel),
  );
  const largest = elements.reduce((most, count) => Math.max(most, count), 0);
  // What the file holds as it is fits.
  if (largest <= site.size) return undefined;
  const what = `layer ${elements.indexOf(largest) + 1} of its chain`;
  const problem = whyTooLarge(largest * (weight.dataType === 'float64' ? 8 : 4), what);
  const enough = Math.min(matrixShape.rows, matrixShape.columns) / outputs;
  if (problem === undefined || plan.perGroup <= enough * outputs) return problem;
  return `${problem}; \`width: ${Math.ceil(enough * 1e4) / 1e4}\` is enough for any weight of its shape`;
}

/** What a site holds that is factorized ahead of its turn: its eigenvectors, where they are made on one thread. */
function bytesAhead({ site, settings: { init }, plan }: Match): number {
  const isPlain = !plan.isSplit && plan.skips.length === 0;
  const { rows, columns } = site.matrixShape;
  const n = Math.min(rows, columns);
  if (!isPlain || !(init === 'balanced' || init === 'orthogonal') || !isPooled(n)) return ALONE;
  return 8 * n * n * site.groups;
}
