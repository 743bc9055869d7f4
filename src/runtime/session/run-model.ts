import { type Model, ModelError } from '../../graph/index.js';
import type { ProviderFailure } from '../providers/provider-failure.js';
import type { ExecutionProvider } from '../providers/providers.js';
import type { RuntimeTensor, Session, SessionOptions } from '../types.js';
import { countOperators, type PlacedNode, type Placement } from './placement.js';
import { openSession } from './session.js';

/** Options of runModel. */
export interface RunModelOptions extends Omit<SessionOptions, 'profile' | 'yielding'> {
  /** Names of the outputs to compute; default all. */
  readonly outputs?: readonly string[] | undefined;
}

/** One run of a model, and who ran it. */
export interface ModelRun {
  readonly outputs: Readonly<Record<string, RuntimeTensor>>;
  /** What it was opened on, the preferred one first. */
  readonly providers: readonly ExecutionProvider[];
  /** What 'auto' would have preferred, and why that does not load. */
  readonly passedOver: readonly ProviderFailure[];
  /** True where bfloat16 was computed in float32. */
  readonly widened?: boolean | undefined;
  readonly placement: Placement;
  /** Nodes that the CPU ran although it was not asked for. */
  readonly fallen: readonly PlacedNode[];
  /** Milliseconds to load and optimize the model. */
  readonly loadTime: number;
  /** Milliseconds of the run. It is the first one, which compiles shaders and allocates memory on a GPU. */
  readonly runTime: number;
}

/**
 * Runs a model once and says which provider ran each of its nodes.
 *
 * @param feeds a tensor for each input by name, or what makes them once the inputs are known
 * @param options.strict throw, naming the nodes, where the CPU would run any without being asked
 * @throws OptionError for `threads` or `device` out of range; ProviderError for a provider that does not load here; ModelError as openSession
 *   and Session.run do
 * @example
 * const run = await runModel(model, randomInputs(model), { providers: 'webgpu' });
 * for (const { provider, nodes } of run.placement.uses) console.log(provider, nodes);
 */
export async function runModel(
  model: Model | string | Uint8Array,
  feeds:
    | Readonly<Record<string, RuntimeTensor>>
    | ((session: Session) => Readonly<Record<string, RuntimeTensor>>),
  options: RunModelOptions = {},
): Promise<ModelRun> {
  const begin = performance.now();
  let session: Session;
  try {
    session = await openSession(model, { ...options, profile: true });
  } catch (error) {
    if (options.strict && isRefusedFallback(error)) throw await nameFallen(model, feeds, options, error);
    throw error;
  }
  await using opened = session;
  const loadTime = performance.now() - begin;
  const given = typeof feeds === 'function' ? feeds(opened) : feeds;
  const start = performance.now();
  const outputs = await opened.run(given, { outputs: options.outputs });
  const runTime = performance.now() - start;
  const placement = await opened.placement();
  const fallen = fallenOf(placement, opened.providers);
  if (options.strict && fallen.length > 0) throw fallenError(fallen, placement, opened.providers, model);
  const { providers, passedOver, widened } = opened;
  return {
    outputs,
    providers,
    passedOver,
    ...(widened && { widened }),
    placement,
    fallen,
    loadTime,
    runTime,
  };
}

/** The nodes that the CPU ran although it is not among the providers. */
export function fallenOf(
  placement: Placement,
  providers: readonly ExecutionProvider[],
): readonly PlacedNode[] {
  return providers.includes('cpu') ? [] : placement.nodes.filter(({ provider }) => provider === 'cpu');
}

/** onnxruntime's refusal of a strict session; it does not say which nodes it is about. */
function isRefusedFallback(error: unknown): boolean {
  return error instanceof ModelError && /fallback to CPU EP has been explicitly disabled/.test(error.message);
}

/** Finds out by a run that is not strict which nodes the refusal was about. */
async function nameFallen(
  model: Model | string | Uint8Array,
  feeds: Parameters<typeof runModel>[1],
  options: RunModelOptions,
  refusal: unknown,
): Promise<ModelError> {
  const { placement, fallen, providers } = await runModel(model, feeds, { ...options, strict: false });
  return fallen.length > 0
    ? fallenError(fallen, placement, providers, model, refusal)
    : new ModelError('some node would fall to the CPU, but none did in a trial run', {}, { cause: refusal });
}

/** Says which nodes fell to the CPU that should not have. */
export function fallenError(
  fallen: readonly PlacedNode[],
  placement: Pick<Placement, 'uses'>,
  providers: readonly ExecutionProvider[],
  model: Model | string | Uint8Array,
  cause?: unknown,
): ModelError {
  const total = placement.uses.reduce((sum, { nodes }) => sum + nodes, 0);
  const operators = Object.entries(countOperators(fallen)).map(([op, count]) => `${count} ${op}`);
  const file = typeof model === 'string' ? model : model instanceof Uint8Array ? undefined : model.path;
  return new ModelError(
    `${fallen.length} of ${total} nodes fall to the CPU, for ${providers.join(', ')} has no kernel for them: ${operators.join(', ')}`,
    { file },
    { cause },
  );
}
