import type { Pass } from '../graph/index.js';
import { checkOptions, OptionError } from '../graph/option-descriptors.js';
import type { CompressAccount } from './account.js';
import { COMPRESS_OPTIONS, type CompressOptions } from './options.js';

export type { CompressAccount, CompressedLayer, Conditioned, CurvePoint, Totals } from './account.js';
export type { DivergenceKind } from './calibration/divergence.js';
export { FORMS, type Form } from './factors/forms.js';
export type { CompressOptions, PlannedLayer } from './options.js';

const NAME = 'compress';

/**
 * Factorizes the layers of a model where that costs least, down to a share of its parameters, multiply-adds or bytes.
 *
 * Each weight may become two matrices, a convolution of fewer channels and a 1x1, a kh x 1 and a 1 x kw, or a Tucker-2 chain. What is
 * lost is told on calibration data: the error of a layer's output over the inputs that it sees (the whitening of SVD-LLM, Wang et al.,
 * arXiv 2403.07378), weighed by how the loss curves there (Kronecker-factored Gauss-Newton, Martens & Grosse, arXiv 1503.05671), corrected
 * by trials of single layers. Ranks are allocated for all layers together by a Lagrangian (Shoham & Gersho 1988). Factors of later layers
 * are fitted to what earlier ones make, and biases take up the means.
 *
 * @throws OptionError for options out of range, and for budgets that cannot be reached; PatternError for patterns that match nothing;
 *   ModelError for data that does not fit the model, or a model that does not run
 * @example
 * const model = await readModel('model.onnx');
 * await using data = await openDataset('images', { inputs: inputSpecs(model) });
 * const [account] = await model.apply(compress({ data, params: 0.5 }));
 * console.log(account.total.parametersAfter, account.predicted, account.measured);
 * await saveModel(model, 'small.onnx');
 */
export function compress(options: CompressOptions = {}): Pass<CompressAccount> {
  checkOptions(COMPRESS_OPTIONS, options);
  const { plan, params, macs, size, latency, maxDrop, data } = options;
  const shares = [params, macs, size, latency].filter((share) => share !== undefined);
  const isBudgeted = shares.length > 0 || maxDrop !== undefined;
  if (maxDrop !== undefined && shares.length > 0)
    throw new OptionError(
      'maxDrop',
      'finds the share itself: leave out `params`, `macs`, `size` and `latency`',
    );
  const { bits, block = 32 } = options;
  if (bits !== undefined && bits !== 4 && bits !== 8)
    throw new OptionError('bits', `must be 4 or 8, not ${bits}`);
  if (2 ** Math.round(Math.log2(block)) !== block)
    throw new OptionError('block', `must be 16, 32, 64, 128 or 256, not ${block}`);
  if (bits !== undefined && (isBudgeted || plan !== undefined || options.finetune))
    throw new OptionError('bits', 'stands in the place of a budget, a plan and fine-tuning');
  for (const key of ['branch', 'block'] as const)
    if (options[key] !== undefined && bits === undefined) throw new OptionError(key, 'goes with `bits`');
  for (const key of ['maxDrop', 'finetune'] as const)
    if (options[key] && data === undefined) throw new OptionError(key, 'needs `data`');
  if (plan !== undefined && isBudgeted)
    throw new OptionError(
      'plan',
      'and a budget exclude each other: the plan says what becomes of each layer',
    );
  if (plan === undefined && !isBudgeted && bits === undefined && options.dryRun !== true)
    throw new OptionError(
      'params',
      'or another budget is needed: how much is to be kept, `params: 0.5`, say',
    );
  return {
    name: NAME,
    inPlace: options.dryRun !== true,
    // What compresses is loaded where something is.
    run: async (model) =>
      bits === undefined
        ? new (await import('./compression.js')).Compression(model, options).run()
        : new (await import('./quantize/quantization.js')).Quantization(model, options).run(),
  };
}
