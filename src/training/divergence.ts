import { type Model, ModelError } from '../graph/index.js';
import type { ChunkResult } from './types.js';

/** The loss or a gradient is no longer a number. */
export class DivergenceError extends ModelError {
  /** The step, from 1, whose loss or gradients are not finite. */
  readonly step: number;
  /** The first weight, in the order of the model, whose gradient is not finite there. */
  readonly weight: string | undefined;

  constructor(
    model: Model,
    at: { step: number; epoch: number; loss: number; weight: string | undefined; layer: string | undefined },
  ) {
    const { step, epoch, loss, weight, layer } = at;
    const what =
      weight === undefined
        ? `the loss is ${loss}`
        : `the gradient of '${weight}' is not finite${Number.isFinite(loss) ? '' : ` and the loss is ${loss}`}`;
    super(
      `training diverged in step ${step} (epoch ${epoch}): ${what}; lower the learning rate, or clip gradients`,
      { file: model.path, node: layer },
    );
    this.step = step;
    this.weight = weight;
  }
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
  const { losses, gradientNorms, weightGradientNorms } = result;
  for (let index = 0; index < losses.length; index += 1) {
    const loss = losses[index] as number;
    if (Number.isFinite(loss) && Number.isFinite(gradientNorms[index])) continue;
    const norms = weightGradientNorms.subarray(index * trained.length, (index + 1) * trained.length);
    const at = norms.findIndex((norm) => !Number.isFinite(norm));
    const weight = at < 0 ? undefined : trained[at];
    const layer = weight === undefined ? undefined : model.graph.uses(weight)[0]?.node.label;
    throw new DivergenceError(model, { step: first + index + 1, epoch, loss, weight, layer });
  }
}
