import { inSingle } from '../../graph/edit/single-precision.js';
import type { Model } from '../../graph/index.js';
import { checkOptions, wrong } from '../../graph/option-descriptors.js';
import { CONVERT_OPTIONS, CONVERT_TYPES, type ConvertOptions, type ConvertType } from './options.js';
import { type ConvertAccount, toHalf } from './to-half.js';

/**
 * A model in another floating-point type: weights are rounded once, nodes of the main graph compute in it. What has no form in the type
 * (operators, weights with elements beyond its range, subgraphs) stays in float32, with casts around it; the account says why.
 * To float32 everything is converted, subgraphs and functions too; float64 stays. The model itself stays as it is.
 *
 * Of half-precision models onnxruntime computes on the CPU what it has kernels for, and casts around the rest; bfloat16 runs on few
 * providers. Activations may leave the range of float16: hold the result against the original on data of yours (`verifyModels`,
 * `evaluateModels`).
 *
 * @throws OptionError for options out of range; PatternError for a glob in `exclude` that matches nothing; ModelError for a model that
 *   onnxruntime does not load
 * @example
 * const { model: half, account } = await convertFloats(model, 'float16', { keepIo: true });
 * console.log(account.skipped.map(({ reason }) => reason));
 * await saveModel(half, 'half.onnx');
 */
export async function convertFloats(
  model: Model,
  type: ConvertType,
  options: ConvertOptions = {},
): Promise<{ readonly model: Model; readonly account: ConvertAccount }> {
  if (!CONVERT_TYPES.includes(type)) wrong('type', `one of ${CONVERT_TYPES.join(', ')}`, type);
  checkOptions(CONVERT_OPTIONS, options);
  if (type === 'float32') {
    const { model: single, ...counts } = inSingle(model, options.keepIo === true);
    return { model: single, account: { type, ...counts, skipped: [], vanished: [] } };
  }
  return await toHalf(model, type, options);
}
