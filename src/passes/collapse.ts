import {
  type AttributeValue,
  type FloatType,
  type Model,
  type NodeProto,
  type NodeSpec,
  narrow,
  type Pass,
  Scratch,
  Tensor,
} from '../graph/index.js';
import type { OnProgress, Skipped } from './account.js';
import { type Chain, findChains, isSpatial, type Link, outputsOf } from './chain-match.js';
import { CHAIN_KEY } from './chain-note.js';
import { compose, ownBias } from './compose.js';
import { placeAsSource, removeUnread } from './weight-source.js';

const NAME = 'collapse';

export interface CollapseOptions {
  /** Match only: the account says what would be done, the model is not changed. */
  readonly dryRun?: boolean;
  readonly onProgress?: OnProgress | undefined;
}

export const COLLAPSE_DEFAULTS = {
  dryRun: false,
  onProgress: undefined,
} as const satisfies Required<CollapseOptions>;

/** A chain that became one node. */
export interface CollapsedChain {
  readonly node: string;
  readonly op: string;
  /** Names of the nodes that it was. */
  readonly from: readonly string[];
  /** Whether the nodes said that they are a chain, or were found to be one. */
  readonly by: 'metadata' | 'structure';
  readonly parametersBefore: number;
  readonly parametersAfter: number;
}

export interface CollapseAccount {
  readonly rewritten: readonly CollapsedChain[];
  readonly skipped: readonly Skipped[];
}

/**
 * Multiplies chains of linear nodes out to single ones, in float64, rounding once. Chains that `expand` made get
 * their node and weight names back; consecutive linear nodes that say nothing of themselves are folded where that
 * costs no parameters and no multiply-adds.
 *
 * @example
 * const model = await readModel('trained.onnx');
 * const [account] = await model.apply(collapse());
 * await saveModel(model, 'deploy.onnx');
 */
export function collapse(options: CollapseOptions = {}): Pass<CollapseAccount> {
  const settings = { ...COLLAPSE_DEFAULTS, ...options };
  return { name: NAME, run: (model) => new Folding(model, settings).run() };
}

class Folding {
  readonly #model: Model;
  readonly #settings: Required<CollapseOptions>;
  /** Names of the weights that were made, by the factors they were made of: shared factors give a shared weight. */
  readonly #weights = new Map<string, string>();

  constructor(model: Model, settings: Required<CollapseOptions>) {
    this.#model = model;
    this.#settings = settings;
  }

  async run(): Promise<CollapseAccount> {
    const { chains, skipped } = findChains(this.#model);
    const rewritten: CollapsedChain[] = [];
    for (const [done, chain] of chains.entries()) {
      const names = namesOf(chain);
      this.#settings.onProgress?.({ done, total: chains.length, what: names.node });
      const { links } = chain;
      const last = links.at(-1) as Link;
      const before = links.reduce((sum, { site }) => sum + site.rows * site.columns, 0);
      const from = links.map((link) => link.node.label);
      const after = this.#settings.dryRun ? foldedSize(links) : await this.#fold(chain, names);
      rewritten.push({
        node: names.node || last.node.outputs[0] || '',
        op: last.site.op,
        from,
        by: chain.by,
        parametersBefore: before,
        parametersAfter: after,
      });
    }
    if (!this.#settings.dryRun) {
      // Only now, since chains may share factors.
      for (const { links } of chains) for (const { site } of links) removeUnread(site.weight);
      for (const { links } of chains) for (const { bias } of links) if (bias) removeUnread(bias);
    }
    return { rewritten, skipped };
  }

  /** Replaces a chain by its product; returns the product's number of elements. */
  async #fold(chain: Chain, names: Names): Promise<number> {
    const { links } = chain;
    const first = links[0] as Link;
    const last = links.at(-1) as Link;
    const { graph } = last.node;
    const home = first.site.weight.graph;
    const type = last.site.weight.dataType as FloatType;
    const { weight, bias } = await compose(links);
    const key = links.map(({ site }) => `${site.weight.value}/${site.orientation}`).join('\n');
    const shape = foldedShape(links);
    const size = weight.length;

    let weightName = this.#weights.get(key);
    const constants: NodeSpec[] = [];
    const initializers: Tensor[] = [];
    if (weightName === undefined) {
      this.#model.scratch ??= new Scratch();
      const array = narrow(type, weight);
      const bytes = this.#model.scratch.put(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
      const isFree = home.resolve(names.weight) === undefined;
      weightName = isFree ? names.weight : this.#model.freshName(`${names.weight}/collapsed`);
      const tensor = Tensor.of(weightName, type, shape, bytes);
      const source = first.note?.source;
      const placed = source && isFree ? await placeAsSource(home, tensor, source) : undefined;
      if (placed !== undefined) {
        constants.push(...placed.nodes);
        initializers.push(...placed.initializers);
      } else if (home.kind === 'function') constants.push(constantNode(tensor));
      else initializers.push(tensor);
      this.#weights.set(key, weightName);
    }

    const inputs = [...last.node.inputs];
    inputs[1 - last.site.weightInput] = first.node.inputs[1 - first.site.weightInput] ?? '';
    inputs[last.site.weightInput] = weightName;
    const attributes: Record<string, AttributeValue> = {};
    let op: string = last.site.op;
    if (bias !== undefined) {
      const own = await ownBias(last);
      const total = own ? bias.map((value, i) => value + (own[i] as number)) : bias;
      const name = this.#model.freshName(`${weightName}/bias`);
      const tensor = Tensor.of(name, type, [total.length], narrow(type, total));
      if (home.kind === 'function') constants.push(constantNode(tensor));
      else initializers.push(tensor);
      inputs[2] = name;
      if (op !== 'Conv') {
        op = 'Gemm';
        attributes.beta = { float: 1 };
      }
    }
    if (home !== graph && home.kind === 'graph') home.edit({ setInitializers: initializers });
    graph.edit({
      removeNodes: links.map((link) => link.node),
      insertNodes: [
        ...constants,
        {
          template: last.node.proto,
          opType: op,
          name: names.node,
          inputs,
          outputs: last.node.outputs,
          attributeProtos: foldedAttributes(links, Object.keys(attributes)),
          attributes,
          metadata: Object.fromEntries([...last.node.metadata].filter(([entry]) => entry !== CHAIN_KEY)),
        },
      ],
      ...(home === graph && { setInitializers: initializers }),
    });
    return size;
  }
}

function constantNode(tensor: Tensor): NodeSpec {
  return { opType: 'Constant', inputs: [], outputs: [tensor.name], attributes: { value: { tensor } } };
}

interface Names {
  readonly node: string;
  readonly weight: string;
}

/** The names that the result gets: those that the metadata or the factors' names tell, else those of the last factor. */
function namesOf({ links, by }: Chain): Names {
  const last = links.at(-1) as Link;
  const note = links[0]?.note;
  if (by === 'metadata' && note !== undefined) return { node: note.site, weight: note.weight };
  const common = (names: readonly string[]): string | undefined => {
    const stems = new Set(names.map((name) => /^(.*)\/overparam\/\d+$/.exec(name)?.[1]));
    const [stem] = stems;
    return stems.size === 1 ? stem : undefined;
  };
  return {
    node: common(links.map((link) => link.node.name)) ?? last.node.name,
    weight: common(links.map((link) => link.site.weight.value)) ?? `${last.site.weight.value}/collapsed`,
  };
}

function foldedShape(links: readonly Link[]): number[] {
  const first = links[0] as Link;
  const last = links.at(-1) as Link;
  if (last.site.op === 'Conv') {
    const kernel = (links.find((link) => isSpatial(link.site)) ?? first).site.kernel;
    return [last.site.rows, first.site.weight.shape[1] ?? 0, ...kernel];
  }
  const inputs = first.site.orientation === 'out-in' ? first.site.columns : first.site.rows;
  const outputs = outputsOf(last.site);
  return last.site.orientation === 'out-in' ? [outputs, inputs] : [inputs, outputs];
}

function foldedSize(links: readonly Link[]): number {
  return foldedShape(links).reduce((product, dim) => product * dim, 1);
}

/** Attributes of the result: of a convolution those of the carrier of kernel and stride, of Gemm both ends'. */
function foldedAttributes(links: readonly Link[], replaced: readonly string[]): NonNullable<NodeProto['attribute']> {
  const first = links[0] as Link;
  const last = links.at(-1) as Link;
  if (last.site.op === 'Conv') {
    return (links.find((link) => isSpatial(link.site)) ?? first).node.proto.attribute ?? [];
  }
  const own = (last.node.proto.attribute ?? []).filter(
    ({ name = '' }) => name !== 'transA' && name !== 'broadcast' && !replaced.includes(name),
  );
  const broadcast = (last.node.proto.attribute ?? []).filter(({ name }) => name === 'broadcast');
  const transA = (first.node.proto.attribute ?? []).filter(({ name }) => name === 'transA');
  return [...transA, ...own, ...broadcast];
}
