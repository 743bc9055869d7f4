import { type DataType, type Model, ModelError } from '../../graph/index.js';
import { checkOptions, defaultsOf } from '../../graph/option-descriptors.js';
import { ProviderError, type ProviderFailure } from '../../runtime/providers/provider-failure.js';
import type { ExecutionProvider, ProviderChoice } from '../../runtime/providers/providers.js';
import { type OpenDims, onOpenDims } from '../../runtime/session/open-dims.js';
import type { PlacedNode, ProviderUse } from '../../runtime/session/placement.js';
import { fedInputs, randomInputs } from '../../runtime/session/random-inputs.js';
import { fallenError, fallenOf } from '../../runtime/session/run-model.js';
import { openSession } from '../../runtime/session/session.js';
import type { RuntimeTensor, Session } from '../../runtime/types.js';
import { compareDecided, type Decisions } from './decisions.js';
import { VERIFY_OPTIONS } from './options.js';
import { Comparison, type OutputComparison } from './output-comparison.js';
import { addRounding } from './rounding.js';

export interface VerifyOptions {
  /** How many random inputs to compare on, at least 1; default 3. */
  readonly samples?: number | undefined;
  /** Seed of the first sample; default 0. */
  readonly seed?: number | undefined;
  /** Sizes of open dimensions, by name or place; default 1 each. */
  readonly dims?: OpenDims | undefined;
  /**
   * Largest |Δ| relative to the largest |a| that passes; default 1e-4, or 8 units in the last place where an
   * output's type is coarser than that (float16: 0.0078, bfloat16: 0.0625). An output past the default passes all the
   * same where rounding alone moves it as far (OutputComparison.rounding); a tolerance that is given is final.
   */
  readonly tolerance?: number | undefined;
  /** What to run on, as for openSession; default the CPU. */
  readonly providers?: ProviderChoice | undefined;
  /** What to run the first model on instead: 'cpu' holds a GPU against the CPU. */
  readonly referenceProviders?: ProviderChoice | undefined;
  /** Which GPU; default 0. */
  readonly device?: number | undefined;
  /** Throw where a node falls to the CPU that was not asked for. */
  readonly strict?: boolean | undefined;
}

/** Who ran a model. */
export interface VerifyPlacement {
  readonly providers: readonly ExecutionProvider[];
  readonly passedOver: readonly ProviderFailure[];
  readonly uses: readonly ProviderUse[];
  /** Nodes that the CPU ran although it was not asked for. */
  readonly fallen: readonly PlacedNode[];
}

export interface Verification {
  /** True when every output agrees and there are no problems. */
  readonly passed: boolean;
  readonly samples: number;
  readonly outputs: readonly OutputComparison[];
  /** What can not be put in numbers, in words: inputs or outputs that one model lacks, types or shapes that differ. */
  readonly problems: readonly string[];
  /**
   * Where the models differ while each decides for itself, and agree with the same decisions in both: what rounding
   * decided otherwise. `outputs` are then those with the same decisions.
   */
  readonly decisions?: Decisions;
  /** Who ran the nodes of each, where providers were asked for and both ran. */
  readonly placements?: { readonly a: VerifyPlacement; readonly b: VerifyPlacement };
}

/**
 * Tells whether two models compute the same function, as far as random inputs can: runs both on the same ones, made
 * for `a`, and compares output by output. Only one sample's outputs are held at a time.
 *
 * Floating-point outputs are compared relative to the largest absolute value of that output of `a` over all samples;
 * integers, bool and strings exactly. NaN equals NaN and an infinity equals itself; where only one model has it, that
 * is a difference, whatever the tolerance.
 *
 * @throws OptionError for options out of range; ProviderError for a provider that does not load here; ModelError when a model can not be loaded or fails to
 *   run, and for a name in dims that `a` does not have
 * @example
 * const { passed, outputs } = await verifyModels(original, rewritten, { samples: 5 });
 */
export async function verifyModels(a: Model, b: Model, options: VerifyOptions = {}): Promise<Verification> {
  const { seed = 0, dims, tolerance } = options;
  const { samples } = { ...defaultsOf(VERIFY_OPTIONS), ...checkOptions(VERIFY_OPTIONS, options) };
  const problems = new Set(inputProblems(a, b));
  const lacking = fedInputs(b.graph).filter(
    (input) => !fedInputs(a.graph).some(({ name }) => name === input.name),
  );
  if (lacking.length > 0) return { passed: false, samples: 0, outputs: [], problems: [...problems] };
  const { providers, referenceProviders = providers, device, strict } = options;
  const profile = providers !== undefined || referenceProviders !== undefined;
  const open = async (model: Model, choice: ProviderChoice | undefined): Promise<Session> => {
    const takesDevice = choice !== undefined && choice !== 'cpu';
    const session = await openSession(model, { providers: choice, profile, ...(takesDevice && { device }) });
    const [failure] = session.passedOver.toReversed();
    // 'auto' ends with the CPU, which is not what was asked for strictly.
    if (!strict || failure === undefined || !session.providers.includes('cpu')) return session;
    await session[Symbol.asyncDispose]();
    throw new ProviderError(failure);
  };
  await using sessionA = await open(a, referenceProviders);
  await using sessionB = await open(b, providers);
  const common = commonOutputs(sessionA, sessionB, problems);
  const comparisons = new Map(common.map(({ name, type }) => [name, new Comparison(name, type, tolerance)]));
  if (comparisons.size === 0) return { passed: false, samples: 0, outputs: [], problems: [...problems] };
  const misshapen = new Set<string>();
  const seeds = Array.from({ length: samples }, (_, sample) => seed + sample);
  const feedsOf = (own: number): Record<string, RuntimeTensor> => randomInputs(a, { seed: own, dims });
  for (const [sample, own] of seeds.entries()) {
    const feeds = feedsOf(own);
    const feedsB = Object.fromEntries(
      sessionB.inputs.map(({ name }) => [name, feeds[name] as RuntimeTensor] as const),
    );
    const misfit = misfitOf(sessionB, feedsB);
    if (misfit !== undefined) {
      // Of another type was said already.
      if (problems.size === 0) problems.add(misfit);
      return { passed: false, samples: sample, outputs: [], problems: [...problems] };
    }
    const wanted = { outputs: [...comparisons.keys()] };
    const [fromA, fromB] = await onOpenDims(fedInputs(a.graph), { dims }, async () => [
      await sessionA.run(feeds, wanted),
      await sessionB.run(feedsB, wanted),
    ]);
    for (const [name, comparison] of comparisons) {
      const [left, right] = [fromA[name], fromB[name]];
      if (left === undefined || right === undefined)
        throw new ModelError(`output '${name}' did not come back`);
      if (left.shape.join() === right.shape.join()) comparison.add(left, right);
      else
        misshapen.add(
          `output '${name}' has the shape [${left.shape.join(', ')}] in the first model, [${right.shape.join(', ')}] in the second`,
        );
    }
  }
  const results = (): OutputComparison[] => [...comparisons.values()].map((one) => one.result());
  let outputs = results();
  let decisions: Decisions | undefined;
  if (problems.size === 0 && (misshapen.size > 0 || outputs.some((output) => !output.passed))) {
    const decided = await compareDecided(a, b, [...comparisons.keys()], {
      tolerance,
      seeds,
      feedsOf,
      openA: (part) => open(part, referenceProviders),
      openB: (part) => open(part, providers),
    }).catch((error: unknown) => {
      // A part of a model may be what the runtime refuses; then the outputs are what there is to compare.
      if (error instanceof ModelError) return undefined;
      throw error;
    });
    if (decided !== undefined) ({ decisions, outputs } = decided);
  }
  const past = new Map([...comparisons].filter(([, comparison]) => comparison.isNearby()));
  if (decisions === undefined && tolerance === undefined && past.size > 0) {
    for (const own of seeds) await addRounding(sessionA, feedsOf(own), past, own);
    outputs = results();
  }
  if (decisions === undefined) for (const problem of misshapen) problems.add(problem);
  const passed = problems.size === 0 && outputs.every((output) => output.passed);
  const result = { passed, samples, outputs, problems: [...problems], ...(decisions && { decisions }) };
  if (!profile) return result;
  const placements = { a: await placementOf(sessionA), b: await placementOf(sessionB) };
  for (const [model, placement] of strict
    ? ([
        [a, placements.a],
        [b, placements.b],
      ] as const)
    : []) {
    const { fallen, providers: asked } = placement;
    if (fallen.length > 0) throw fallenError(fallen, placement, asked, model);
  }
  return { ...result, placements };
}

async function placementOf(session: Session): Promise<VerifyPlacement> {
  const { providers, passedOver } = session;
  const placement = await session.placement();
  return { providers, passedOver, uses: placement.uses, fallen: fallenOf(placement, providers) };
}

function inputProblems(a: Model, b: Model): string[] {
  const [inputsA, inputsB] = [fedInputs(a.graph), fedInputs(b.graph)];
  const problems: string[] = [];
  for (const input of inputsA) {
    const other = inputsB.find(({ name }) => name === input.name);
    if (other === undefined) problems.push(`the second model has no input '${input.name}'`);
    else if (other.dataType !== input.dataType) {
      problems.push(
        `input '${input.name}' is ${input.toString()} in the first model, ${other.toString()} in the second`,
      );
    }
  }
  for (const { name } of inputsB) {
    if (!inputsA.some((input) => input.name === name))
      problems.push(`the first model has no input '${name}'`);
  }
  return problems;
}

/** What the second model wants otherwise than it was made for the first; then there is nothing to compare. */
function misfitOf(session: Session, feeds: Readonly<Record<string, RuntimeTensor>>): string | undefined {
  for (const { name, type, shape } of session.inputs) {
    const feed = feeds[name];
    const isSame =
      feed?.type === type &&
      (shape.length === 0 || feed?.shape.length === shape.length) &&
      shape.every((dim, axis) => typeof dim !== 'number' || dim === feed?.shape[axis]);
    if (isSame) continue;
    const wanted = `${type}[${shape.map((dim) => dim ?? '?').join(', ')}]`;
    return `input '${name}' is ${feed?.type}[${feed?.shape.join(', ')}] in the first model, ${wanted} in the second`;
  }
  return undefined;
}

function commonOutputs(a: Session, b: Session, problems: Set<string>): { name: string; type: DataType }[] {
  const common: { name: string; type: DataType }[] = [];
  for (const { name, type } of a.outputs) {
    const other = b.outputs.find((output) => output.name === name);
    if (other === undefined) problems.add(`the second model has no output '${name}'`);
    else if (type === undefined || other.type === undefined) {
      problems.add(`output '${name}' is no tensor, and was not compared`);
    } else if (type !== other.type) {
      problems.add(`output '${name}' is ${type} in the first model, ${other.type} in the second`);
    } else common.push({ name, type });
  }
  for (const { name } of b.outputs) {
    if (!a.outputs.some((output) => output.name === name))
      problems.add(`the first model has no output '${name}'`);
  }
  return common;
}
