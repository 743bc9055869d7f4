import { type DataType, EPSILON, isFloatType, type Model, ModelError } from '../../graph/index.js';
import { reading } from '../../graph/occupied.js';
import { checkOptions, defaultsOf, OptionError } from '../../graph/option-descriptors.js';
import { fedInputs, onOpenDims } from '../../runtime/inputs/input-sizes.js';
import type { OpenDims } from '../../runtime/inputs/open-dims.js';
import { randomInputs } from '../../runtime/inputs/random-inputs.js';
import { ProviderError, type ProviderFailure } from '../../runtime/providers/provider-failure.js';
import type { ExecutionProvider, ProviderChoice } from '../../runtime/providers/providers.js';
import { partOf } from '../../runtime/session/part.js';
import type { PlacedNode, ProviderUse } from '../../runtime/session/placement.js';
import { fallenError, fallenOf } from '../../runtime/session/run-model.js';
import { openSession } from '../../runtime/session/session.js';
import type { RuntimeTensor, Session } from '../../runtime/types.js';
import { carriersOf, type Pair } from './carriers.js';
import { compareDecided, type Decisions } from './decisions.js';
import { type Divergence, firstDivergence } from './divergence.js';
import { areComparable, coarsestFloat, inWidthOf } from './float-widths.js';
import { VERIFY_OPTIONS } from './options.js';
import { Comparison, type OutputComparison } from './output-comparison.js';
import { addRounding, stepOf } from './rounding.js';

/** A tensor for each input, by name. */
export type Feeds = Readonly<Record<string, RuntimeTensor>>;

/** Options of verifyModels. */
export interface VerifyOptions {
  /** A tensor for each input of `a`, to compare on instead of on random ones; of several samples a list. */
  readonly inputs?: Feeds | readonly Feeds[] | undefined;
  /** How many random inputs to compare on, at least 1; default 3. */
  readonly samples?: number | undefined;
  /** Seed of the first sample; default 0. */
  readonly seed?: number | undefined;
  /** Sizes of open dimensions, by name or place; default 1 each. */
  readonly dims?: OpenDims | undefined;
  /**
   * Largest |Δ| relative to the largest |a| that passes; default 1e-4, or 8 units in the last place where an
   * output's type, or what one model alone computes in, is coarser than that (float16: 0.0078, bfloat16: 0.0625). An output past the default passes all the
   * same where rounding alone moves it as far (OutputComparison.rounding), or where the operator that makes it computes no more
   * exactly (a Sigmoid to a step of 1); a tolerance that is given is final.
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
  /** Where the models differ, look for the first inner value that does; runs both again in parts. Default false. */
  readonly trace?: boolean | undefined;
  /** Between two runs, it ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called before each run of a model. */
  readonly onProgress?:
    | ((progress: { readonly done: number; readonly total: number; readonly what: string }) => void)
    | undefined;
}

/** Who ran a model. */
export interface VerifyPlacement {
  readonly providers: readonly ExecutionProvider[];
  readonly passedOver: readonly ProviderFailure[];
  readonly uses: readonly ProviderUse[];
  /** Nodes that the CPU ran although it was not asked for. */
  readonly fallen: readonly PlacedNode[];
  /** Why it is not known who ran the nodes. */
  readonly problem?: string | undefined;
}

/** What verifyModels returns. */
export interface Verification {
  /** True when every output agrees, there are no problems, and something was compared. */
  readonly passed: boolean;
  /** 'nothing compared' where nothing differs, but no output has an element, or a finite one. */
  readonly verdict: 'same' | 'different' | 'nothing compared';
  readonly samples: number;
  readonly outputs: readonly OutputComparison[];
  /** What cannot be put in numbers, in words: inputs or outputs that one model lacks, types or shapes that differ. */
  readonly problems: readonly string[];
  /**
   * Where the models differ while each decides for itself, and agree with the same decisions in both: what rounding
   * decided otherwise. `outputs` are then those with the same decisions.
   */
  readonly decisions?: Decisions;
  /** Where the second model computes in coarser floats: OutputComparison.rounding is of it then, not of the first. */
  readonly rounds?: 'b';
  /** The models whose bfloat16 was computed in float32, for lack of kernels. */
  readonly widened?: readonly ('a' | 'b')[];
  /** Where they differ and `trace` asks for it: where they part first, on the first sample. */
  readonly divergence?: Divergence;
  /** Who ran the nodes of each, where providers were asked for and both ran. */
  readonly placements?: { readonly a: VerifyPlacement; readonly b: VerifyPlacement };
}

/** Outputs of the first model that are held until the second has run; further samples then load both again. */
const HELD_BYTES = 512 * 2 ** 20;

/**
 * Tells whether two models compute the same function, as far as random inputs can: runs both on the same ones, made
 * for `a`, and compares output by output. The models are loaded one after the other, never side by side.
 *
 * Floating-point outputs are compared relative to the largest absolute value of that output of `a` over all samples;
 * integers, bool and strings exactly. NaN equals NaN and an infinity equals itself; where only one model has it, that
 * is a difference, whatever the tolerance. Floats of different widths are compared as numbers (a float32 model with its float16
 * version): the inputs of `b` are those of `a`, rounded. A sequence or a map is compared by the tensors that the same nodes make it of.
 *
 * @throws OptionError for options out of range; ProviderError for a provider that does not load here; ModelError when a model cannot be loaded or fails to
 *   run, and for a name in dims that `a` does not have
 * @example
 * const { passed, outputs } = await verifyModels(original, rewritten, { samples: 5 });
 */
export async function verifyModels(a: Model, b: Model, options: VerifyOptions = {}): Promise<Verification> {
  return reading([a, b], 'the comparison', () => verification(a, b, options));
}

async function verification(a: Model, b: Model, options: VerifyOptions): Promise<Verification> {
  const { inputs, seed = 0, dims, tolerance } = options;
  const checked = { ...defaultsOf(VERIFY_OPTIONS), ...checkOptions(VERIFY_OPTIONS, options) };
  const given: readonly Feeds[] | undefined =
    inputs === undefined ? undefined : Array.isArray(inputs) ? inputs : [inputs as Feeds];
  const samples = given?.length ?? checked.samples;
  if (samples === 0) throw new OptionError('inputs', 'has no sample to compare on');
  const [widthA, widthB] = [coarsestFloat(a), coarsestFloat(b)];
  const coarsest = EPSILON[widthB] > EPSILON[widthA] ? widthB : widthA;
  const rounds = EPSILON[widthB] > EPSILON[widthA] && { rounds: 'b' as const };
  const isMixed = widthA !== widthB;
  const problems = new Set(inputProblems(a, b));
  const failed = (done: number): Verification => ({
    passed: false,
    verdict: 'different',
    samples: done,
    outputs: [],
    problems: [...problems],
    ...rounds,
  });
  const fed = new Set(fedInputs(a.graph).map(({ name }) => name));
  if (fedInputs(b.graph).some(({ name }) => !fed.has(name))) return failed(0);
  const pairs = comparedOutputs(a, b, problems);
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
  const openA = (part: Model): Promise<Session> => open(part, referenceProviders);
  const openB = (part: Model): Promise<Session> => open(part, providers);
  const [wholeA, wholeB] = [withOutputs(a, pairs, 'a'), withOutputs(b, pairs, 'b')];
  const seeds = Array.from({ length: samples }, (_, sample) => seed + sample);
  const feedsOf = (own: number): Record<string, RuntimeTensor> =>
    given === undefined ? randomInputs(a, { seed: own, dims }) : { ...given[own - seed] };
  const hinted = <T>(work: () => Promise<T>): Promise<T> =>
    inputs === undefined ? onOpenDims(a, { dims }, work) : work();
  const comparisons = new Map<string, Comparison>();
  const misshapen = new Set<string>();
  const placed: { a?: VerifyPlacement; b?: VerifyPlacement } = {};
  let runs = 0;
  const step = (what: string): void => {
    options.signal?.throwIfAborted();
    options.onProgress?.({ done: runs, total: 2 * samples, what });
    runs += 1;
  };
  const widened = new Set<'a' | 'b'>();
  for (let done = 0; done < seeds.length; ) {
    const held: Record<string, RuntimeTensor>[] = [];
    let tensors: Pair[] = [];
    const types = new Map<string, DataType>();
    {
      await using session = await openA(wholeA);
      if (session.widened) widened.add('a');
      for (const { name, type } of session.outputs) if (type !== undefined) types.set(name, type);
      tensors = pairs.filter((pair) => types.has(pair.a));
      const wanted = { outputs: [...new Set(tensors.map((pair) => pair.a))] };
      for (let bytes = 0; bytes < HELD_BYTES && done + held.length < seeds.length; ) {
        const feeds = feedsOf(seeds[done + held.length] ?? 0);
        step('a');
        const outputs = await hinted(() => session.run(feeds, wanted));
        held.push(outputs);
        bytes += Object.values(outputs).reduce((sum, { data }) => sum + byteSize(data), 0);
      }
      if (profile) placed.a ??= await placementOf(session);
    }
    await using session = await openB(wholeB);
    if (session.widened) widened.add('b');
    tensors = tensors.filter((pair) => isComparable(pair, types.get(pair.a), session, problems));
    for (const { name } of pairs.filter((pair) => !types.has(pair.a))) {
      problems.add(`output '${name}' is no tensor, and was not compared`);
    }
    if (tensors.length === 0) return failed(0);
    const wanted = { outputs: [...new Set(tensors.map((pair) => pair.b))] };
    for (const fromA of held) {
      const feeds = feedsOf(seeds[done] ?? 0);
      const feedsB = Object.fromEntries(
        session.inputs.map(
          ({ name, type }) => [name, inWidthOf(type, feeds[name] as RuntimeTensor)] as const,
        ),
      );
      const misfit = misfitOf(session, feedsB);
      if (misfit !== undefined) {
        // Of another type was said already.
        if (problems.size === 0) problems.add(misfit);
        return failed(done);
      }
      step('b');
      const fromB = await hinted(() => session.run(feedsB, wanted));
      for (const pair of tensors) {
        const [left, right] = [fromA[pair.a], fromB[pair.b]];
        if (left === undefined || right === undefined) {
          throw new ModelError(`output '${pair.name}' did not come back`);
        }
        const step = isFloatType(left.type) ? stepOf(a, pair.a, left.type) : 0;
        const comparison =
          comparisons.get(pair.a) ??
          new Comparison(pair.name, left.type, tolerance, step, {
            otherType: right.type,
            // bfloat16 is computed in float32, whose roundings do not show those of the weights.
            coarsest: isMixed || coarsest === 'bfloat16' ? coarsest : undefined,
          });
        comparisons.set(pair.a, comparison);
        if (left.shape.join() === right.shape.join()) comparison.add(left, right);
        else
          misshapen.add(
            `output '${pair.name}' has the shape [${left.shape.join(', ')}] in the first model, [${right.shape.join(', ')}] in the second`,
          );
      }
      done += 1;
    }
    if (profile) placed.b ??= await placementOf(session);
  }
  const results = (): OutputComparison[] => [...comparisons.values()].map((one) => one.result());
  let outputs = results();
  let decisions: Decisions | undefined;
  const areSameNames = pairs.every((pair) => pair.a === pair.b && comparisons.has(pair.a));
  if (
    problems.size === 0 &&
    areSameNames &&
    (misshapen.size > 0 || outputs.some((output) => !output.passed))
  ) {
    const decided = await compareDecided(a, b, [...comparisons.keys()], {
      tolerance,
      seeds,
      feedsOf,
      openA,
      openB,
    }).catch((error: unknown) => {
      // A part of a model may be what the runtime refuses; then the outputs are what there is to compare.
      if (error instanceof ModelError) return undefined;
      throw error;
    });
    if (decided !== undefined) ({ decisions, outputs } = decided);
  }
  const past = new Map([...comparisons].filter(([, comparison]) => comparison.isNearby()));
  if (decisions === undefined && tolerance === undefined && past.size > 0) {
    const [model, open] = rounds ? ([b, openB] as const) : ([a, openA] as const);
    const fed = new Map(fedInputs(model.graph).map(({ name, dataType }) => [name, dataType]));
    const rounded = seeds.map((own) => ({
      seed: own,
      feeds: Object.fromEntries(
        Object.entries(feedsOf(own)).flatMap(([name, tensor]) =>
          fed.has(name) ? [[name, inWidthOf(fed.get(name), tensor)] as const] : [],
        ),
      ),
    }));
    await addRounding(partOf(model, [...past.keys()]), open, rounded, past);
    outputs = results();
  }
  if (decisions === undefined) for (const problem of misshapen) problems.add(problem);
  const trace = (): Promise<Divergence> =>
    firstDivergence(a, b, {
      names: [...comparisons.keys()],
      feeds: feedsOf(seed),
      tolerance,
      coarsest,
      openA: (part) => openSession(part),
      openB: (part) => openSession(part),
    });
  const isSame = problems.size === 0 && outputs.every((output) => output.passed);
  const isCompared = outputs.some(({ compared }) => compared > 0);
  const verdict = !isSame ? 'different' : isCompared ? 'same' : 'nothing compared';
  const result = {
    passed: verdict === 'same',
    verdict,
    samples,
    outputs,
    problems: [...problems],
    ...(decisions && { decisions }),
    ...rounds,
    ...(widened.size > 0 && { widened: [...widened] }),
    ...(verdict === 'different' && options.trace && comparisons.size > 0 && { divergence: await trace() }),
  } as const;
  if (placed.a === undefined || placed.b === undefined) return result;
  const placements = { a: placed.a, b: placed.b };
  for (const [model, placement] of strict
    ? ([
        [a, placements.a],
        [b, placements.b],
      ] as const)
    : []) {
    const { fallen, providers: asked } = placement;
    if (placement.problem !== undefined) {
      throw new ModelError(`it is not known who ran the nodes: ${placement.problem}`, { file: model.path });
    }
    if (fallen.length > 0) throw fallenError(fallen, placement, asked, model);
  }
  return { ...result, placements };
}

function byteSize(data: RuntimeTensor['data']): number {
  return ArrayBuffer.isView(data) ? data.byteLength : data.length * 64;
}

/** The model with what is compared as its outputs: itself, unless a sequence or a map is among its own. */
function withOutputs(model: Model, pairs: readonly Pair[], side: 'a' | 'b'): Model {
  const own = new Set(model.graph.outputs.map(({ name }) => name));
  const names = [...new Set(pairs.map((pair) => pair[side]))];
  return names.every((name) => own.has(name)) ? model : partOf(model, names);
}

const KINDS: ReadonlySet<string> = new Set(['sequence', 'map', 'optional']);

/** What tells of the outputs that both have, and in `problems` what does not compare. */
function comparedOutputs(a: Model, b: Model, problems: Set<string>): Pair[] {
  const [outputsA, outputsB] = [a.graph.outputs, b.graph.outputs];
  const pairs = outputsA.flatMap((output): Pair[] => {
    const { name, kind } = output;
    const other = outputsB.find((one) => one.name === name);
    if (other === undefined) problems.add(`the second model has no output '${name}'`);
    else if (!KINDS.has(kind) && !KINDS.has(other.kind)) return [{ name, a: name, b: name }];
    else {
      const carriers = carriersOf(a, b, name);
      if (carriers !== undefined) return carriers;
      problems.add(`output '${name}' is ${output.toString()}, and not the same nodes make it in both models`);
    }
    return [];
  });
  for (const { name } of outputsB) {
    if (!outputsA.some((output) => output.name === name)) {
      problems.add(`the first model has no output '${name}'`);
    }
  }
  return pairs;
}

/** Whether a tensor of the first model is one of the same type in the second. */
function isComparable(pair: Pair, type: DataType | undefined, b: Session, problems: Set<string>): boolean {
  const other = b.outputs.find(({ name }) => name === pair.b)?.type;
  if (other === undefined) problems.add(`output '${pair.name}' is no tensor, and was not compared`);
  else if (!areComparable(other, type)) {
    problems.add(`output '${pair.name}' is ${type} in the first model, ${other} in the second`);
  }
  return other !== undefined && areComparable(other, type);
}

async function placementOf(session: Session): Promise<VerifyPlacement> {
  const { providers, passedOver } = session;
  const placement = await session.placement();
  const { uses, problem } = placement;
  const fallen = fallenOf(placement, providers);
  return { providers, passedOver, uses, fallen, ...(problem !== undefined && { problem }) };
}

function inputProblems(a: Model, b: Model): string[] {
  const [inputsA, inputsB] = [fedInputs(a.graph), fedInputs(b.graph)];
  const problems: string[] = [];
  for (const input of inputsA) {
    const other = inputsB.find(({ name }) => name === input.name);
    if (other === undefined) problems.push(`the second model has no input '${input.name}'`);
    else if (!areComparable(other.dataType, input.dataType)) {
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
