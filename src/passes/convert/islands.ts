import type { Node } from '../../graph/index.js';
import { HALF_SINCE } from './half-types.js';
import type { ConvertType } from './options.js';

/** Operators whose type an attribute says, or that make and read sequences. */
const APART: ReadonlySet<string> = new Set([
  'BlackmanWindow',
  'EyeLike',
  'HammingWindow',
  'HannWindow',
  'ImageDecoder',
  'MelWeightMatrix',
  'Multinomial',
  'Optional',
  'OptionalGetElement',
  'OptionalHasElement',
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'SequenceAt',
  'SequenceConstruct',
  'SequenceEmpty',
  'SequenceErase',
  'SequenceInsert',
  'SequenceLength',
  'SplitToSequence',
  'ConcatFromSequence',
]);

/** The operator set from which on the first operators take bfloat16. */
const BFLOAT_FIRST = 13;

/** Why a node stays in float32; undefined where it need not. */
export function reasonForSingle(node: Node, type: ConvertType, opset: number): string | undefined {
  const { opType, domain } = node;
  if (domain !== '' && domain !== 'ai.onnx') return `which types ${domain}.${opType} takes is not known`;
  if (node.subgraphs.length > 0) return 'it has subgraphs, which stay as they are';
  if (APART.has(opType)) return `${opType} does not follow the type of its inputs`;
  if (opType === 'Constant' && !node.attributes.has('value')) return 'its value is written as a float32';
  if (opType === 'LayerNormalization' && node.outputs.slice(1).some(Boolean))
    return 'its mean and deviation are float32';
  const since =
    (type === 'float32' ? undefined : HALF_SINCE[type][opType]) ?? (type === 'bfloat16' ? BFLOAT_FIRST : 1);
  if (since === 0) return `${opType} has no ${type}`;
  return opset < since ? `${opType} has ${type} from operator set ${since} on` : undefined;
}

/** Inputs that are float32 whatever the others are. */
export function singleInputs(node: Node): readonly number[] {
  return node.is('Resize', 'Upsample') ? [1, 2] : [];
}
