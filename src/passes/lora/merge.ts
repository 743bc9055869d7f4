import {
  findConstant,
  isConstant,
  type Model,
  type NodeSpec,
  specOf,
  type Tensor,
} from '../../graph/index.js';
import { ValueKeys } from '../../graph/names/value-keys.js';
import type { Skipped } from '../../graph/skipped.js';
import { removeUnreadValue } from '../collapse/remove-unread.js';
import { asConstants, editWith, scratchTensor } from '../rewrite/placement.js';
import { behindIdentity, describeSource, placeAsSource, removeUnread } from '../rewrite/weight-source.js';
import { type FoundAdapter, factorValues, findModelAdapters, readNumbers } from './find-adapters.js';
import { addedWeight } from './products.js';
import { columnsOf } from './slots.js';

/** An adapter that was folded into its layer's weight. */
export interface MergedAdapter {
  readonly node: string;
  readonly op: string;
  readonly from: readonly string[];
  readonly fromOps: readonly string[];
  readonly parametersBefore: number;
  readonly parametersAfter: number;
  readonly multiplyAddsBefore: number;
  readonly multiplyAddsAfter: number;
}

/**
 * Folds the adapters of a model into the weights of their layers, W + scale * B A, in float64, rounded once. An adapter whose product is
 * zero leaves the weight as it is, byte for byte.
 */
export async function mergeAdapters(
  model: Model,
): Promise<{ readonly merged: readonly MergedAdapter[]; readonly skipped: readonly Skipped[] }> {
  const { adapters, broken } = findModelAdapters(model);
  const skipped: Skipped[] = [...broken];
  const merged: MergedAdapter[] = [];
  const made = new Map<string, string>();
  const keys = new ValueKeys();
  for (const adapter of adapters) {
    const result = await merge(model, adapter, { made, keys });
    if ('reason' in result) skipped.push({ node: adapter.add.label, op: 'LoRA', reason: result.reason });
    else merged.push(result);
  }
  return { merged, skipped };
}

async function merge(
  model: Model,
  adapter: FoundAdapter,
  { made, keys }: { readonly made: Map<string, string>; readonly keys: ValueKeys },
): Promise<MergedAdapter | { readonly reason: string }> {
  const { slot, factors, scale, add, note } = adapter;
  const { node, site } = slot;
  if (site === undefined)
    return { reason: `the weight of '${node.label}' is quantized, so it stays beside it` };
  const numbers = await readNumbers(adapter);
  if ('reason' in numbers) return numbers;
  const values = factorValues(adapter);
  const nodes = [node, ...factors, ...(scale === undefined ? [] : [scale]), add];
  const size = slot.groups * slot.outputs * columnsOf(slot);
  const inner = numbers.rank * (columnsOf(slot) + slot.outputs + (factors.length - 2) * numbers.rank);
  const { graph: home, value } = behindIdentity(site.weight);
  const key = JSON.stringify([keys.of(home, value), slot.op, site.orientation, values, numbers.scale]);
  const isFirst = !made.has(key);
  const account: MergedAdapter = {
    node: note.site === '' ? node.label : note.site,
    op: node.opType,
    from: nodes.map(({ label }) => label),
    fromOps: nodes.map(({ opType }) => opType),
    parametersBefore: isFirst ? size + slot.groups * inner : 0,
    parametersAfter: isFirst ? size : 0,
    multiplyAddsBefore: size + slot.groups * inner,
    multiplyAddsAfter: size,
  };
  const isZero = numbers.factors.some((data) => data.every((number) => number === 0));
  let name = isZero ? site.weight.value : made.get(key);
  let fresh: Tensor | undefined;
  if (name === undefined) {
    const data = await addedWeight(site, slot, numbers.factors, numbers);
    const lost = data.findIndex((number) => !Number.isFinite(number));
    if (lost >= 0) return { reason: `element ${lost} of the merged weight would not be finite` };
    name = model.freshName(`${note.weight}/merged`);
    fresh = await scratchTensor(model, name, slot.type, site.weight.shape, data);
    if (slot.type === 'float16' && fresh.floats().some((number) => !Number.isFinite(number)))
      return { reason: 'the merged weight would overflow float16' };
  }
  made.set(key, name);
  const own = specOf(node.proto);
  const inserted: NodeSpec = {
    ...own,
    inputs: own.inputs.map((input, i) => (i === slot.weightInput ? (name as string) : input)),
    outputs: [add.outputs[0] ?? '', ...own.outputs.slice(1)],
  };
  const source = describeSource(site.weight);
  editWith(asConstants(home, fresh === undefined ? [] : [fresh]), home, node, {
    removeNodes: nodes,
    insertNodes: [inserted],
  });
  const { graph } = node;
  for (const one of [...values, ...(scale === undefined ? [] : [scale.inputs[1] ?? ''])])
    removeUnreadFactor(one);
  if (isZero) return account;
  // The weight has its name and form back once nothing else reads what it was.
  removeUnread([site.weight]);
  if (name === note.weight || home.resolve(note.weight) !== undefined) return account;
  const tensor = home.initializers.get(name);
  const restored =
    source !== undefined && note.weight === site.weight.value && tensor !== undefined
      ? await placeAsSource(home, tensor.renamed(note.weight), source)
      : undefined;
  const reader = home.uses(name)[0]?.node;
  if (restored === undefined || reader === undefined) home.rename(name, note.weight);
  else {
    home.edit({ insertNodes: restored.nodes, before: reader, setInitializers: restored.initializers });
    home.replaceUses(name, note.weight);
    home.removeInitializer(name);
  }
  made.set(key, note.weight);
  return account;

  function removeUnreadFactor(one: string): void {
    const constant = findConstant(graph, one);
    if (graph.isInput(one) && graph.uses(one).length === 0 && graph.initializers.has(one))
      graph.removeInput(one);
    if (isConstant(constant)) removeUnread([constant]);
    else removeUnreadValue(graph, one);
  }
}
