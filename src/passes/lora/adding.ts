import { isReadOnlyByNodes } from '../../affine/match/copies.js';
import { type FreshName, imaginedNames } from '../../graph/edit/imagined-names.js';
import { inlineCalls } from '../../graph/edit/inline-functions.js';
import {
  type Graph,
  type Model,
  type Node,
  type NodeSpec,
  narrow,
  specOf,
  Tensor,
  ValueInfo,
} from '../../graph/index.js';
import { glob } from '../../graph/names/glob.js';
import { trainedNames } from '../../graph/names/trained-names.js';
import { ValueKeys } from '../../graph/names/value-keys.js';
import type { Reason, Skipped } from '../../graph/skipped.js';
import { withEigenThreads } from '../../linalg/gram-eigen.js';
import { Random } from '../../runtime/index.js';
import { NOT_SELECTED } from '../expand/options.js';
import { asConstants, editWith, scratchTensor } from '../rewrite/placement.js';
import { behindIdentity, removeUnread } from '../rewrite/weight-source.js';
import type { AdaptedLayer, AddAdaptersAccount } from './account.js';
import type { LoraFactors } from './adapter-file.js';
import { pissaFactors, zeroFactors } from './initial-factors.js';
import { layerNames, layersOf, moduleName } from './layer-names.js';
import { type LoraNote, type LoraPart, loraMetadata, readLoraNote } from './note.js';
import type { AddAdaptersOptions } from './options.js';
import { addedWeight, type OutInFactors } from './products.js';
import {
  adapterSizes,
  columnsOf,
  factorOperator,
  findSlots,
  outInFactor,
  type Slot,
  storedFactor,
} from './slots.js';

type Settings = Required<AddAdaptersOptions>;

/** The adapter of a weight, in the graph that holds it; of a shared weight it is shared. */
interface Stored {
  readonly module: string;
  readonly factors: readonly string[];
  readonly rank: number;
  readonly scale: number;
  /** The weight that the layer reads with it: another one where the adapter took something out of it. */
  readonly base: string;
  readonly isNew: boolean;
}

interface Wanted {
  readonly slot: Slot;
  readonly given: LoraFactors | undefined;
}

/** The work of addAdapters on one model. */
export class Adding {
  readonly #model: Model;
  readonly #settings: Settings;
  readonly #fresh: FreshName;
  readonly #keys = new ValueKeys();
  readonly #stored = new Map<string, Stored | Reason>();
  readonly #trained: ReadonlySet<string>;
  readonly #used = new Set<string>();

  constructor(model: Model, settings: Settings) {
    // A dry run puts functions in place, too, but not in the model that it is given.
    this.#model = settings.dryRun && model.functions.length > 0 ? model.clone() : model;
    this.#settings = settings;
    this.#fresh = settings.dryRun ? imaginedNames(this.#model) : (base) => model.freshName(base);
    this.#trained = trainedNames(model);
  }

  run(): Promise<AddAdaptersAccount> {
    return withEigenThreads(() => this.#add());
  }

  async #add(): Promise<AddAdaptersAccount> {
    const { dryRun, onProgress, only, exclude } = this.#settings;
    const inlined =
      this.#model.functions.length === 0
        ? []
        : inlineCalls(this.#model, (plain) => this.#wanted(plain).wanted.map(({ slot }) => [slot.node]));
    this.#used.clear();
    const { wanted, skipped, unapplied } = this.#wanted(this.#model);
    const rewritten: AdaptedLayer[] = [];
    for (const [done, { slot, given }] of wanted.entries()) {
      const { label } = slot.node;
      onProgress?.({ done, total: wanted.length, what: label });
      const result = await this.#adapt(slot, given, wanted);
      if (!('reason' in result)) rewritten.push(result);
      else if (given === undefined)
        skipped.push({ node: label, op: slot.node.opType, reason: result.reason });
      else unapplied.push({ module: given.module, reason: result.reason });
    }
    if (this.#settings.inputs && !dryRun) this.#listInputs();
    const unmatched = [...only, ...exclude].filter((pattern) => !this.#used.has(pattern));
    return { rewritten, skipped, unapplied, unmatched, inlined };
  }

  /** The layers that are to have adapters. */
  #wanted(model: Model): {
    readonly wanted: readonly Wanted[];
    readonly skipped: Skipped[];
    readonly unapplied: { module: string; reason: string }[];
  } {
    const { adapters } = this.#settings;
    const { slots, others } = findSlots(model);
    const skipped: Skipped[] = others.map(({ node, reason }) => skip(node, reason));
    const chosen = slots.filter((slot) => {
      const isChosen = this.#isSelected(slot);
      if (!isChosen) skipped.push(skip(slot.node, NOT_SELECTED));
      return isChosen;
    });
    if (adapters === undefined)
      return { wanted: chosen.map((slot) => ({ slot, given: undefined })), skipped, unapplied: [] };
    const unapplied: { module: string; reason: string }[] = [];
    const byNode = new Map<Node, Wanted>();
    for (const given of adapters) {
      const found = layersOf(given.module, chosen);
      if ('reason' in found) unapplied.push({ module: given.module, reason: found.reason });
      else for (const slot of found) byNode.set(slot.node, { slot, given });
    }
    // In the order of execution.
    const wanted = chosen.flatMap(({ node }) => byNode.get(node) ?? []);
    return { wanted, skipped: [], unapplied };
  }

  #isSelected(slot: Slot): boolean {
    const { only, exclude, ops, minSize } = this.#settings;
    const names = [slot.node.label, ...layerNames(slot), moduleName(slot)];
    // Each pattern is tried, so that those that match nothing are known at the end.
    const hits = (patterns: readonly string[]): number =>
      patterns.filter((pattern) => {
        const isHit = names.some(glob(pattern));
        if (isHit) this.#used.add(pattern);
        return isHit;
      }).length;
    const [wanted, unwanted] = [hits(only), hits(exclude)];
    const isOp = ops.length === 0 || ops.includes(slot.op);
    return (only.length === 0 || wanted > 0) && unwanted === 0 && isOp && sizeOf(slot) >= minSize;
  }

  async #adapt(
    slot: Slot,
    given: LoraFactors | undefined,
    all: readonly Wanted[],
  ): Promise<AdaptedLayer | Reason> {
    const { node, site } = slot;
    const output = node.outputs[0];
    if (!output) return { reason: 'nothing reads its output' };
    const why = this.#whyNot(slot, given);
    if (why !== undefined) return { reason: why };
    const home = site === undefined ? slot.node.graph : behindIdentity(site.weight).graph;
    const value = site === undefined ? slot.weight : behindIdentity(site.weight).value;
    const key = JSON.stringify([this.#keys.of(home, value), slot.op, slot.weightInput, site?.orientation]);
    const known = this.#stored.get(key);
    const stored = known ?? (await this.#store(slot, given, home, all));
    this.#stored.set(key, 'reason' in stored ? stored : { ...stored, isNew: false });
    if ('reason' in stored) return stored;
    const nodes = this.#insert(slot, stored, output);
    const { module, rank, scale, factors, isNew } = stored;
    const sizes = adapterSizes(slot, rank, factors.length);
    const trained = sizes.reduce(
      (sum, { inputs, outputs, kernel }) =>
        sum + slot.groups * inputs * outputs * kernel.reduce((a, b) => a * b, 1),
      0,
    );
    return {
      node: node.label,
      op: node.opType,
      weight: slot.weight,
      module,
      outputs: slot.outputs * slot.groups,
      inputs: columnsOf(slot),
      rank,
      scale,
      init: given === undefined ? this.#settings.init : 'given',
      parameters: isNew ? sizeOf(slot) : 0,
      trained: isNew ? trained : 0,
      nodes,
    };
  }

  #whyNot(slot: Slot, given: LoraFactors | undefined): string | undefined {
    const { site, groups, outputs } = slot;
    const columns = columnsOf(slot);
    if (site?.weight.leaves.some((leaf) => this.#trained.has(leaf.name)))
      return 'training_info names its weight';
    if (hasAdapter(slot.node)) return 'it has an adapter already; collapse folds it in';
    if (given !== undefined) {
      const { a, b } = given;
      if (groups > 1) return `its layer '${slot.node.label}' has ${groups} groups`;
      if (a.columns !== columns || b.rows !== outputs)
        return `it is for ${b.rows} x ${a.columns} (outputs x inputs), and '${slot.node.label}' is ${outputs} x ${columns}`;
      return undefined;
    }
    const { rank } = this.#settings;
    const most = Math.min(outputs, columns);
    if (most === 0) return 'its weight has no elements';
    if (rank > most) return `its matrix is ${outputs} x ${columns}: a rank of ${rank} is more than it has`;
    return undefined;
  }

  /** Makes the factors of a weight; in a dry run only names them. */
  async #store(
    slot: Slot,
    given: LoraFactors | undefined,
    home: Graph,
    all: readonly Wanted[],
  ): Promise<Stored | Reason> {
    const { dryRun, seed, init, deep } = this.#settings;
    const module = given?.module ?? moduleName(slot);
    const rank = given?.a.rows ?? this.#settings.rank;
    const alpha = this.#settings.alpha ?? rank;
    const scale = given?.scale ?? alpha / (this.#settings.rsLora ? Math.sqrt(rank) : rank);
    const count = given === undefined && deep ? 3 : 2;
    const isTaken = given === undefined && init === 'pissa';
    const whole = all
      .filter(({ slot: { weight } }) => weight === slot.weight)
      .map(({ slot: { node } }) => node);
    if (isTaken) {
      if (slot.site === undefined)
        return { reason: 'its weight is quantized: only `init: zero` goes beside it' };
      if (!isReadOnlyByNodes(slot.site.weight, new Set(whole)))
        return { reason: 'something else reads its weight, which `init: pissa` changes' };
    }
    const letters = count === 3 ? ['A', 'C', 'B'] : ['A', 'B'];
    const names = letters.map((letter) => this.#fresh(`${module}.lora_${letter}.weight`));
    const stored = { module, factors: names, rank, scale, base: slot.weight, isNew: true };
    if (dryRun) return stored;
    const factors: OutInFactors | Reason =
      given !== undefined
        ? [given.a.data, given.b.data]
        : isTaken
          ? await pissaFactors(slot, rank, count, scale)
          : zeroFactors(slot, rank, count, new Random(seed, `lora ${module}`));
    if ('reason' in factors) return factors;
    const sizes = adapterSizes(slot, rank, count);
    const tensors: Tensor[] = [];
    const rounded: OutInFactors[number][] = [];
    for (const [i, size] of sizes.entries()) {
      const factor = storedFactor(slot, factors[i] as Float32Array, size);
      const tensor = await scratchTensor(
        this.#model,
        names[i] as string,
        slot.type,
        factor.shape,
        factor.data,
      );
      tensors.push(tensor);
      // What is taken out of the weight is what the factors hold once they are rounded.
      if (isTaken) rounded.push(tensor.floats());
    }
    let { base } = stored;
    if (isTaken && slot.site !== undefined) {
      const taken = rounded.map((data, i) => outInFactor(slot, data, sizes[i] as (typeof sizes)[number]));
      const rest = await addedWeight(slot.site, slot, taken, { rank, scale: -scale });
      base = this.#fresh(`${module}.residual`);
      tensors.push(await scratchTensor(this.#model, base, slot.type, slot.site.weight.shape, rest));
    }
    this.#put(home, tensors, slot.node);
    return { ...stored, base };
  }

  #put(home: Graph, tensors: readonly Tensor[], reader: Node): void {
    const placed = asConstants(home, tensors);
    let before: Node | undefined = reader;
    while (before !== undefined && before.graph !== home) before = before.graph.owner;
    home.edit({ insertNodes: placed.nodes, before, setInitializers: placed.initializers });
  }

  /** Puts the nodes of an adapter beside the layer's. */
  #insert(slot: Slot, stored: Stored, output: string): readonly string[] {
    const { node, op, weight } = slot;
    const { module, factors, base } = stored;
    const of = factors.length;
    const label = node.label;
    const note = (part: LoraPart, factor: number): Pick<NodeSpec, 'metadata'> => {
      const made: LoraNote = { part, module, site: node.name, weight, factor, of };
      return { metadata: loraMetadata(made) };
    };
    const scale = stored.scale * (op === 'Gemm' ? node.attributes.float('alpha', 1) : 1);
    const plain = this.#fresh(`${output}/base`);
    const specs: NodeSpec[] = [];
    const tensors: Tensor[] = [];
    let value = node.inputs[1 - slot.weightInput] ?? '';
    const add = (
      name: string,
      part: LoraPart,
      factor: number,
      spec: Pick<NodeSpec, 'opType' | 'inputs' | 'attributeProtos'>,
    ): void => {
      const made = this.#fresh(`${label}/${name}`);
      const out = part === 'add' ? output : this.#fresh(`${made}/out`);
      specs.push({ ...spec, name: made, outputs: [out], ...note(part, factor) });
      value = out;
    };
    const letters = of === 3 ? ['A', 'C', 'B'] : ['A', 'B'];
    for (const [i, factor] of factors.entries()) {
      add(`lora_${letters[i]}`, 'factor', i, factorOperator(slot, i === 0, value, factor));
      if (i > 0 || scale === 1) continue;
      // On the few units in between, it costs least.
      const name = this.#fresh(`${label}/lora_scale`);
      tensors.push(Tensor.of(name, slot.type, [], narrow(slot.type, Float64Array.of(scale))));
      add('lora_scaled', 'scale', i, { opType: 'Mul', inputs: [value, name] });
    }
    add('lora_sum', 'add', of - 1, { opType: 'Add', inputs: [plain, value] });
    const names = specs.map(({ name = '' }) => name);
    if (this.#settings.dryRun) return names;
    const own = specOf(node.proto);
    const inputs = own.inputs.map((input, i) => (i === slot.weightInput && base !== weight ? base : input));
    const changed: NodeSpec = { ...own, inputs, outputs: [plain, ...own.outputs.slice(1)] };
    editWith(asConstants(node.graph, tensors), node.graph, node, {
      removeNodes: [node],
      insertNodes: [changed, ...specs],
    });
    if (base !== weight && slot.site !== undefined) removeUnread([slot.site.weight]);
    return names;
  }

  /** Lists the factors of adapters among the inputs of the model, where callers may feed others. */
  #listInputs(): void {
    const { graph } = this.#model;
    for (const stored of this.#stored.values()) {
      if ('reason' in stored) continue;
      for (const name of stored.factors) {
        const tensor = graph.initializers.get(name);
        if (tensor !== undefined && !graph.isInput(name))
          graph.addInput(ValueInfo.tensor(name, tensor.dataType, tensor.shape));
      }
    }
  }
}

function skip(node: Node, reason: string): Skipped {
  return { node: node.label, op: node.opType, reason };
}

function sizeOf(slot: Slot): number {
  return slot.groups * slot.outputs * columnsOf(slot);
}

/** Whether the sum of an adapter reads what a node makes. */
function hasAdapter(node: Node): boolean {
  return node.graph
    .uses(node.outputs[0] ?? '')
    .some(({ node: reader, index }) => index === 0 && readLoraNote(reader)?.part === 'add');
}
