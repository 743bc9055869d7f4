import type { Checkpoint, Config } from '../../../runtime/checkpoint/index.js';
import { isConv1D } from '../output-axis.js';
import type { StoredUse } from '../types.js';
import type { StoreWeights } from '../weight-store.js';
import type { WeightMatrix } from '../weights.js';
import type { AttentionLayer, AttentionLayers, Projection } from './attention-layer.js';

/** How an architecture calls the projections of an attention layer, after the name of the layer. */
interface Naming {
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly output: string;
}

/** One weight with queries, keys and values, in this order: side by side, or of each head behind one another. */
interface FusedNaming {
  readonly fused: string;
  readonly output: string;
  readonly order: 'parts' | 'heads';
}

/** The first whose tensors are all there is taken. */
const NAMINGS: readonly (Naming | FusedNaming)[] = [
  // Llama, Mistral, Qwen, Gemma, Mixtral, Phi
  { query: 'q_proj.weight', key: 'k_proj.weight', value: 'v_proj.weight', output: 'o_proj.weight' },
  // OPT, BART, Whisper, CLIP
  { query: 'q_proj.weight', key: 'k_proj.weight', value: 'v_proj.weight', output: 'out_proj.weight' },
  { query: 'q_proj.weight', key: 'k_proj.weight', value: 'v_proj.weight', output: 'dense.weight' },
  // BERT, RoBERTa, ELECTRA; ViT
  {
    query: 'self.query.weight',
    key: 'self.key.weight',
    value: 'self.value.weight',
    output: 'output.dense.weight',
  },
  {
    query: 'attention.query.weight',
    key: 'attention.key.weight',
    value: 'attention.value.weight',
    output: 'output.dense.weight',
  },
  // DistilBERT
  { query: 'q_lin.weight', key: 'k_lin.weight', value: 'v_lin.weight', output: 'out_lin.weight' },
  // T5
  { query: 'q.weight', key: 'k.weight', value: 'v.weight', output: 'o.weight' },
  // GPT-2
  { fused: 'c_attn.weight', output: 'c_proj.weight', order: 'parts' },
  // Phi-3
  { fused: 'qkv_proj.weight', output: 'o_proj.weight', order: 'parts' },
  // torch.nn.MultiheadAttention
  { fused: 'in_proj_weight', output: 'out_proj.weight', order: 'parts' },
  // GPT-NeoX, BLOOM
  { fused: 'query_key_value.weight', output: 'dense.weight', order: 'heads' },
];

/** What a configuration has where positions are rotated. */
const ROTARY_KEYS = [
  'rope_theta',
  'rope_scaling',
  'rope_parameters',
  'rotary_pct',
  'rotary_dim',
  'rotary_emb_base',
];

/** Architectures that normalize queries and keys. */
const NORMALIZED = new Set(['qwen3', 'qwen3_moe', 'gemma3', 'gemma3_text', 'olmo2']);

/** The attention layers of a checkpoint, by the names of its tensors and the sizes in its config.json. */
export function checkpointAttention(checkpoint: Checkpoint, { weights }: StoreWeights): AttentionLayers {
  const byName = new Map(weights.map((weight) => [weight.name, weight]));
  const layers: AttentionLayer[] = [];
  const others: AttentionLayers['others'][number][] = [];
  const done = new Set<string>();
  for (const naming of NAMINGS) {
    const last = 'fused' in naming ? naming.fused : naming.query;
    for (const name of byName.keys()) {
      if (name !== last && !name.endsWith(`.${last}`)) continue;
      const prefix = name.slice(0, -last.length);
      if (done.has(prefix)) continue;
      const found = layerOf(prefix, naming, byName, checkpoint.config);
      if (found === undefined) continue;
      done.add(prefix);
      if ('reason' in found)
        others.push({
          node: { label: prefix.replace(/\.$/, ''), opType: 'Attention' },
          reason: found.reason,
        });
      else layers.push(found);
    }
  }
  const place = new Map([...byName.keys()].map((name, index) => [name, index]));
  const order = ({ query }: AttentionLayer): number => place.get(query.weight.name) ?? 0;
  return { layers: layers.sort((a, b) => order(a) - order(b)), others };
}

function layerOf(
  prefix: string,
  naming: Naming | FusedNaming,
  byName: ReadonlyMap<string, WeightMatrix<StoredUse>>,
  whole: Config | undefined,
): AttentionLayer | { readonly reason: string } | undefined {
  const weightOf = (suffix: string): WeightMatrix<StoredUse> | undefined => byName.get(prefix + suffix);
  const output = weightOf(naming.output);
  const parts =
    'fused' in naming
      ? [weightOf(naming.fused)]
      : [weightOf(naming.query), weightOf(naming.key), weightOf(naming.value)];
  const [query, key = query, value = query] = parts;
  if (query === undefined || key === undefined || value === undefined || parts.includes(undefined))
    return undefined;
  if (output === undefined) return undefined;
  const config = configOf(prefix, whole);
  if (config === undefined) return { reason: 'there is no config.json that tells its number of heads' };
  const heads = numberOf(config, headKeys(prefix));
  if (heads === undefined) return { reason: 'its config.json tells no number of heads' };
  const kvHeads = numberOf(config, ['num_key_value_heads', 'num_kv_heads']) ?? heads;
  const isTurned = isConv1D(config);
  const axis = isTurned ? 'columns' : 'rows';
  const isFused = 'fused' in naming;
  const total = heads + 2 * kvHeads;
  const headSize = isFused ? query[axis] / total : query[axis] / heads;
  const fits =
    Number.isInteger(headSize) &&
    output[isTurned ? 'rows' : 'columns'] === heads * headSize &&
    (isFused || (key[axis] === kvHeads * headSize && value[axis] === kvHeads * headSize));
  if (!fits || heads % kvHeads !== 0) {
    return {
      reason: `its weights (${query.rows} x ${query.columns}) are not those of ${heads} heads and ${kvHeads} of keys and values`,
    };
  }
  const projection = (weight: WeightMatrix<StoredUse>, at: number, each: number): Projection => ({
    weight,
    axis,
    start: (head) => at + head * each,
  });
  const s = headSize;
  const of = !isFused
    ? [projection(query, 0, s), projection(key, 0, s), projection(value, 0, s)]
    : naming.order === 'parts'
      ? [
          projection(query, 0, s),
          projection(query, heads * s, s),
          projection(query, (heads + kvHeads) * s, s),
        ]
      : [projection(query, 0, 3 * s), projection(query, s, 3 * s), projection(query, 2 * s, 3 * s)];
  const [q, k, v] = of as [Projection, Projection, Projection];
  const name = prefix.replace(/\.$/, '') || 'attention';
  const isRotary = ROTARY_KEYS.some((one) => config[one] !== undefined && config[one] !== null);
  return {
    name,
    heads,
    kvHeads,
    headSize,
    query: q,
    key: k,
    value: v,
    output: { weight: output, axis: isTurned ? 'rows' : 'columns', start: (head) => head * s },
    leftOut: [
      ...(isRotary ? [`rotary positions: [qk] is the product for tokens at one position`] : []),
      ...(NORMALIZED.has(String(config.model_type))
        ? ['the normalization of queries and keys is not in [qk]']
        : []),
    ],
  };
}

/** The part of a configuration that a tensor's name belongs to, of models that have several. */
function configOf(prefix: string, config: Config | undefined): Config | undefined {
  if (config === undefined) return undefined;
  const isVision = /vision/.test(prefix);
  const parts = isVision ? [config.vision_config] : [config.text_config, config.llm_config];
  const part = parts.find((one) => typeof one === 'object' && one !== null);
  return (part as Config | undefined) ?? config;
}

function headKeys(prefix: string): string[] {
  const side = /(^|\.)encoder\./.test(prefix) ? 'encoder' : 'decoder';
  return ['num_attention_heads', `${side}_attention_heads`, 'n_head', 'num_heads', 'n_heads'];
}

function numberOf(config: Config, keys: readonly string[]): number | undefined {
  const found = keys.map((key) => config[key]).find((value) => Number.isInteger(value) && Number(value) > 0);
  return found === undefined ? undefined : Number(found);
}
