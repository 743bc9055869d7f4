import { type Model, ModelError } from '../graph/index.js';
import type { ChunkResult, DivergenceOrigin } from './types.js';

/** The loss or a gradient is no longer a number. */
export class DivergenceError extends ModelError {
  override readonly code = 'ERR_DIVERGED';
  /** The step, from 1, whose loss or gradients are not finite. */
  readonly step: number;
  /** The first weight, in the order of the model, whose gradient is not finite there. */
  readonly weight: string | undefined;
  /** The first value of the step that is not finite; undefined where it could not be found. */
  readonly origin: DivergenceOrigin | undefined;

  constructor(
    model: Model,
    at: {
      step: number;
      epoch: number;
      loss: number;
      weight: string | undefined;
      origin: DivergenceOrigin | undefined;
    },
  ) {
    const { step, epoch, loss, weight, origin } = at;
    const what =
      weight === undefined
        ? `the loss is ${loss}`
        : `the gradient of '${weight}' is not finite${Number.isFinite(loss) ? '' : ` and the loss is ${loss}`}`;
    const layer = weight === undefined ? undefined : model.graph.uses(weight)[0]?.node.label;
    super(
      `training diverged in step ${step} (epoch ${epoch}): ${origin === undefined ? what : told(origin, step)}; ${remedy(origin, step)}`,
      { file: model.path, node: origin === undefined ? layer : origin.node },
    );
    this.step = step;
    this.weight = weight;
    this.origin = origin;
  }
}

function told({ kind, tensor, opType }: DivergenceOrigin, step: number): string {
  switch (kind) {
    case 'data':
      return `the samples fed to '${tensor}' have NaN or infinite values`;
    case 'target':
      return 'the targets have NaN or infinite values';
    case 'weight':
      return step === 1
        ? `'${tensor}' has NaN or infinite values in the model`
        : `'${tensor}' is not finite since the update of step ${step - 1}`;
    case 'forward':
      return `the first value that is not finite is '${tensor}'${opType === undefined ? '' : `, which ${opType} computes`}`;
    case 'loss':
      return `the loss is not finite, though what the model puts out is`;
    case 'backward':
      return `the loss is finite, but '${tensor}' of the gradient is not${opType === undefined ? '' : ` (${opType})`}`;
    case 'norm':
      return `the gradient of '${tensor}' is so large that its norm is beyond float32`;
  }
}

/** Is it samples or targets that are no numbers? */
export function isOfData(origin: DivergenceOrigin | undefined): boolean {
  return origin?.kind === 'data' || origin?.kind === 'target';
}

function remedy(origin: DivergenceOrigin | undefined, step: number): string {
  if (isOfData(origin)) return 'mend the data';
  if (origin?.kind === 'weight' && step === 1) return 'mend the model, or begin with random weights';
  return 'lower the learning rate, or clip gradients';
}

/** The first step of a chunk whose loss or gradients are not finite. */
export function firstNotFinite({
  losses,
  gradientNorms,
}: Pick<ChunkResult, 'losses' | 'gradientNorms'>): number | undefined {
  const index = losses.findIndex((loss, at) => !Number.isFinite(loss) || !Number.isFinite(gradientNorms[at]));
  return index < 0 ? undefined : index;
}

/** Throws where a step of a chunk is not finite. */
export function assertFinite(
  model: Model,
  result: ChunkResult,
  {
    trained,
    first,
    epoch,
  }: { readonly trained: readonly string[]; readonly first: number; readonly epoch: number },
): void {
  const index = firstNotFinite(result);
  if (index === undefined) return;
  const norms = result.weightGradientNorms.subarray(index * trained.length, (index + 1) * trained.length);
  const at = norms.findIndex((norm) => !Number.isFinite(norm));
  throw new DivergenceError(model, {
    step: first + index + 1,
    epoch,
    loss: result.losses[index] as number,
    weight: at < 0 ? undefined : trained[at],
    origin: result.origin,
  });
}
