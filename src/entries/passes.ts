/**
 * What belongs to the passes: their defaults, recipes for expand, what regions fold to. The passes themselves, expand,
 * collapse, fixInputs and replaceHead, are in `onnx-overparam`.
 *
 * @example
 * import { expand, readModel } from 'onnx-overparam';
 * import { EXPAND_DEFAULTS, rankRecipe } from 'onnx-overparam/passes';
 *
 * const model = await readModel('model.onnx');
 * const { recipe } = await rankRecipe(model);
 * await model.apply(expand({ ...EXPAND_DEFAULTS, recipe }));
 *
 * @module onnx-overparam/passes
 */

export { inlinedFunctions } from '../graph/edit/inline-functions.js';
export type { OnProgress, Progress } from '../passes/account.js';
export {
  COLLAPSE_DEFAULTS,
  type CollapseAccount,
  type CollapsedChain,
  type CollapseOptions,
} from '../passes/collapse/collapse.js';
export { rankReportWithRegions } from '../passes/collapse/region-rows.js';
export { type FixDimsAccount, fixDims } from '../passes/convert/fix-dims.js';
export { type InlineWeightsAccount, inlineWeights } from '../passes/convert/inline-weights.js';
export { CONVERT_TYPES, type ConvertType } from '../passes/convert/options.js';
export { raiseIr, raiseOpset } from '../passes/convert/raise-opset.js';
export type { ConvertAccount } from '../passes/convert/to-half.js';
export {
  type ChainOptions,
  EXPAND_DEFAULTS,
  EXPAND_INITS,
  type ExpandAccount,
  type ExpandedSite,
  type ExpandInit,
  type ExpandOptions,
  parseRecipe,
  type Recipe,
  type RecipeRule,
} from '../passes/expand/expand.js';
export type { ResidualMode } from '../passes/expand/options.js';
export { type RankRecipe, type RankRecipeOptions, rankRecipe } from '../passes/expand/rank-recipe.js';
export { parseRecipeText, type RecipeFormat, recipeFormat } from '../passes/expand/recipe.js';
export { type AdapterFileOptions, type LoraFactors, writeAdapter } from '../passes/lora/adapter-file.js';
export {
  ADD_ADAPTERS_DEFAULTS,
  type AdaptedLayer,
  type LoraInit,
  type LoraSettings,
} from '../passes/lora/add-adapters.js';
export { modelAdapters, type ReadAdapters, readAdapters } from '../passes/lora/read-adapter.js';
export { writeModelAdapters } from '../passes/lora/write-model-adapters.js';
export type { FixInputsAccount } from '../passes/rewrite/fix-inputs.js';
export type { Corrected, Untold } from '../passes/rewrite/infer.js';
export type { HeadAccount, HeadOptions } from '../passes/rewrite/replace-head.js';
