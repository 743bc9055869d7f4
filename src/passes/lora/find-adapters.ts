import { batchedSite, LINEAR_OPS, linearSite } from '../../affine/linear-sites.js';
import { findConstant, type Graph, isConstant, type Model, type Node } from '../../graph/index.js';
import type { Skipped } from '../../graph/skipped.js';
import type { Floats } from '../../linalg/floats.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import { type LoraNote, readLoraNote } from './note.js';
import { adapterSizes, outInFactor, type Slot, slotOf } from './slots.js';

/** An adapter in a model: the layer's node, the nodes of the factors, and the sum. */
export interface FoundAdapter {
  readonly note: LoraNote;
  readonly slot: Slot;
  /** In the order of application. */
  readonly factors: readonly Node[];
  readonly scale: Node | undefined;
  readonly add: Node;
}

/** The adapters of a model by the notes of their nodes, each checked against what the nodes do; broken ones with the reason. */
export function findModelAdapters(model: Model): {
  readonly adapters: readonly FoundAdapter[];
  readonly broken: readonly Skipped[];
} {
  const adapters: FoundAdapter[] = [];
  const broken: Skipped[] = [];
  for (const add of model.nodes()) {
    const note = readLoraNote(add);
    if (note?.part !== 'add') continue;
    const found = adapterAt(add, note);
    if ('reason' in found) broken.push({ node: add.label, op: 'LoRA', reason: found.reason });
    else adapters.push(found);
  }
  return { adapters, broken };
}

function adapterAt(add: Node, note: LoraNote): FoundAdapter | { readonly reason: string } {
  const { graph } = add;
  const base = graph.producer(add.inputs[0] ?? '');
  if (!add.is('Add') || base === undefined)
    return { reason: 'it is no longer a sum of a layer and an adapter' };
  const factors: Node[] = [];
  let scale: Node | undefined;
  let value = add.inputs[1] ?? '';
  while (factors.length < note.of) {
    if (!isReadOnce(graph, value)) return { reason: `something else reads '${value}', which is within it` };
    const node = graph.producer(value);
    const part = node && readLoraNote(node);
    if (node === undefined || part === undefined || part.module !== note.module)
      return { reason: `the node that makes '${value}' says nothing of the adapter` };
    if (part.part === 'scale' && node.is('Mul')) {
      scale = node;
      value = node.inputs[0] ?? '';
      continue;
    }
    factors.unshift(node);
    value = node.inputs[1 - weightInputOf(node)] ?? '';
  }
  if (!isReadOnce(graph, add.inputs[0] ?? ''))
    return { reason: `something else reads what '${base.label}' makes` };
  const op = LINEAR_OPS.find((name) => base.is(name));
  const site = op === undefined ? undefined : linearSite(base, op);
  const batched = site === undefined || !('reason' in site) ? undefined : batchedSite(base);
  const own =
    site !== undefined && !('reason' in site)
      ? site
      : batched !== undefined && !('reason' in batched)
        ? batched
        : undefined;
  const slot = slotOf(base, own);
  if (slot === undefined) return { reason: `'${base.label}' is no layer with a constant weight` };
  if (base.inputs[1 - slot.weightInput] !== value)
    return { reason: `it does not read what '${base.label}' reads` };
  const found = { note, slot, factors, scale, add };
  const fed = factorValues(found).find((name) => !isConstant(findConstant(graph, name)));
  if (fed !== undefined)
    return {
      reason: `'${fed}' is an input of the model, which callers may feed (\`fixInputs\` makes it a constant)`,
    };
  return found;
}

/** Of a factor of a MatMul, which may have its weight on the left, the input that is constant or could be fed. */
function weightInputOf(node: Node): number {
  const { graph } = node;
  const right = node.inputs[1] ?? '';
  if (!node.is('MatMul') || graph.resolve(right)?.kind === 'initializer') return 1;
  return isConstant(findConstant(graph, right)) ? 1 : 0;
}

function isReadOnce(graph: Graph, value: string): boolean {
  return !graph.isOutput(value) && graph.uses(value).length === 1;
}

/** The numbers of an adapter. */
export interface AdapterNumbers {
  /** Out x (in * kernel) of the groups, consecutive. */
  readonly factors: readonly Floats[];
  readonly rank: number;
  /** What their product is multiplied by before it is added to the weight. */
  readonly scale: number;
}

/** Reads the factors of an adapter; the reason where they are no longer what they were. */
export async function readNumbers({
  slot,
  factors,
  scale: mul,
}: FoundAdapter): Promise<AdapterNumbers | { readonly reason: string }> {
  const last = factors.at(-1);
  const stored = await Promise.all(
    factors.map((node) => evaluateConstant(node.graph, node.inputs[weightInputOf(node)] ?? '')),
  );
  const total = stored.at(-1)?.size ?? 0;
  const rank = total / (slot.groups * slot.outputs);
  const sizes = adapterSizes(slot, rank, factors.length);
  const fits = stored.every(({ size }, i) => {
    const { inputs = 0, outputs = 0, kernel = [] } = sizes[i] ?? {};
    return size === slot.groups * inputs * outputs * kernel.reduce((a, b) => a * b, 1);
  });
  if (last === undefined || !Number.isInteger(rank) || rank < 1 || !fits)
    return { reason: 'the sizes of its factors do not fit' };
  const alpha = slot.op === 'Gemm' ? slot.node.attributes.float('alpha', 1) : 1;
  const multiplied =
    mul === undefined ? 1 : (await evaluateConstant(mul.graph, mul.inputs[1] ?? '')).floats()[0];
  return {
    rank,
    scale: (multiplied ?? 1) / alpha,
    factors: stored.map((tensor, i) =>
      outInFactor(slot, tensor.floats(), sizes[i] as (typeof sizes)[number]),
    ),
  };
}

/** The values that an adapter's factors read as weights. */
export function factorValues({ factors }: FoundAdapter): string[] {
  return factors.map((node) => node.inputs[weightInputOf(node)] ?? '');
}
