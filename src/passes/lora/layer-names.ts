import type { Node } from '../../graph/index.js';
import type { Reason } from '../../graph/skipped.js';
import type { Slot } from './slots.js';

/** What exporters put behind the name of a module. */
const SUFFIX =
  /(?:[./](?:q?weight|MatMul|Gemm|Conv|ConvTranspose|MatMulNBits|MatMulBnb4|Add|linear|base_layer|Quant|quantized|q4|Q4|Q4G\d+)(?:_\w+)?)+$/;
/** Where PyTorch's exporter says which modules a node is of. */
const SCOPES = 'pkg.torch.onnx.name_scopes';

/** Names by which a layer can be known, the one nearest to its module's first. */
export function layerNames({ node, weight, site }: Slot): string[] {
  const stored = site?.weight.root?.name ?? site?.weight.leaves[0]?.name ?? weight;
  const named = [weight, stored].filter((name) => /[./]q?weight(?:_\w+)?$/.test(name));
  const scopes = [...(node.metadata.get(SCOPES) ?? '').matchAll(/'([^']*)'/g)].map((match) => match[1] ?? '');
  const scope = scopes.findLast((name) => name.includes('.')) ?? scopes.findLast((name) => name !== '');
  const names = [...named, ...(scope === undefined ? [] : [scope]), node.name, weight, stored];
  return [...new Set(names.filter((name) => name !== ''))];
}

/** What a layer's module is called, as PEFT calls modules: model.layers.0.self_attn.q_proj. */
export function moduleName(slot: Slot): string {
  const [first = '', ...more] = layerNames(slot);
  // A name without parts says nothing of a module, where another one has some.
  const name = [first, ...more].find((one) => tokensOf(one).length > 1) ?? first;
  return tokensOf(name).join('.');
}

/** The parts of a name. */
function tokensOf(name: string): string[] {
  const bare = name.replace(SUFFIX, '');
  const tokens = (bare === '' ? name : bare).split(/[./]+/).filter((token) => token !== '');
  return tokens.length === 0 ? [name] : tokens;
}

/** Names that exporters write in another way. */
const SAME: Readonly<Record<string, string>> = {
  self_attn: 'attn',
  self_attention: 'attn',
  attention: 'attn',
};

/** How many parts two names share at their ends; 0 where one is not the end of the other. */
function sharedEnd(a: readonly string[], b: readonly string[]): number {
  const length = Math.min(a.length, b.length);
  for (let i = 1; i <= length; i += 1) {
    const [one = '', two = ''] = [a.at(-i), b.at(-i)];
    if ((SAME[one] ?? one) !== (SAME[two] ?? two)) return 0;
  }
  // Which of the layers it is has to be among what they share.
  const rest = [...a.slice(0, -length), ...b.slice(0, -length)];
  return rest.some((token) => /^\d+$/.test(token)) ? 0 : length;
}

/**
 * The layers that a module of an adapter is: those one of whose names it is, or ends in, or that end in it. Several only where they share a
 * weight.
 */
export function layersOf(module: string, slots: readonly Slot[]): readonly Slot[] | Reason {
  const wanted = tokensOf(module);
  let most = 0;
  let found: Slot[] = [];
  for (const slot of slots) {
    const shared = Math.max(...layerNames(slot).map((name) => sharedEnd(wanted, tokensOf(name))));
    if (shared > most) [most, found] = [shared, []];
    if (shared > 0 && shared === most) found.push(slot);
  }
  const [first, ...more] = found;
  if (first === undefined) return { reason: 'no layer of the model has its name' };
  const other = more.find(({ weight }) => weight !== first.weight);
  if (other === undefined) return found;
  return { reason: `it may be '${labelOf(first.node)}' or '${labelOf(other.node)}'` };
}

function labelOf({ label }: Node): string {
  return label;
}
