import type { Node } from '../../graph/index.js';
import type { Config } from '../../runtime/checkpoint/index.js';
import type { StoredUse } from './types.js';
import { isCheckpoint, type WeightStore } from './weight-store.js';
import type { WeightMatrix } from './weights.js';

/** Architectures whose linear layers are in x out (transformers' Conv1D). */
const CONV1D = new Set(['gpt2', 'openai-gpt', 'decision_transformer', 'imagegpt']);

/** Whether a configuration is of an architecture whose weights are in x out. */
export function isConv1D(config: Config | undefined): boolean {
  return CONV1D.has(String(config?.model_type));
}

/** The axis of a node's outputs in its weight: a MatMul's weight is in x out, a Gemm's by its transB, a MatMulNBits' out x in. */
export function nodeOutputAxis({
  opType,
  attributes,
}: Pick<Node, 'opType' | 'attributes'>): 'rows' | 'columns' {
  const isOutIn = opType === 'MatMulNBits' || (/Gemm/.test(opType) && attributes.int('transB', 0) !== 0);
  return isOutIn ? 'rows' : 'columns';
}

/** The axis of a linear layer's outputs in its weight. */
export function outputAxisOf(
  { uses: [use], rows, columns }: WeightMatrix<StoredUse>,
  store: WeightStore,
): { readonly axis: 'rows' | 'columns' } | { readonly reason: string } {
  const { node, op, part } = use;
  if (part !== undefined || use.conv !== undefined)
    return { reason: `it is a ${op} of which adapters are not made` };
  if (op === 'Embedding' || op === 'Gather')
    return { reason: 'it is an embedding, of which adapters are not made' };
  if (Math.min(rows, columns) < 2) return { reason: 'it is a vector' };
  if ('graph' in store) {
    const isKnown = /^(Fused)?(MatMul|Gemm)$|^MatMulNBits$/.test(op);
    return isKnown
      ? { axis: nodeOutputAxis(node as Node) }
      : { reason: `it is a ${op} of which adapters are not made` };
  }
  return { axis: isCheckpoint(store) && isConv1D(store.config) ? 'columns' : 'rows' };
}
