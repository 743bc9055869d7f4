import { check, type Model, ModelError, messageOf, type Problem } from '../../graph/index.js';
import { openSession } from '../../runtime/index.js';

/** What is wrong with a model, as this library and onnxruntime see it. */
export interface Inspection {
  /** No error, and onnxruntime loads it (or was not asked). */
  readonly sound: boolean;
  readonly problems: readonly Problem[];
  /** Whether onnxruntime loads the model, and why not; undefined where it was not asked. */
  readonly onnxruntime: { readonly loads: boolean; readonly problem: string | undefined } | undefined;
}

/**
 * Checks a model: its invariants (`check`), and whether onnxruntime loads it.
 *
 * @param options.runtime ask onnxruntime; default true. A model with errors is not given to it.
 * @throws nothing for what is wrong with the model: that is what it returns
 * @example
 * const { sound, problems, onnxruntime } = await inspectModel(model);
 */
export async function inspectModel(
  model: Model,
  options: { readonly runtime?: boolean | undefined } = {},
): Promise<Inspection> {
  const problems = check(model);
  const hasErrors = problems.some(({ severity }) => severity === 'error');
  if (options.runtime === false || hasErrors) return { sound: !hasErrors, problems, onnxruntime: undefined };
  try {
    await using _session = await openSession(model);
    return { sound: true, problems, onnxruntime: { loads: true, problem: undefined } };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { sound: false, problems, onnxruntime: { loads: false, problem: messageOf(error) } };
  }
}
