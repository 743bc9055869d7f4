import type { Model } from '../graph/index.js';
import { Random } from '../runtime/index.js';
import { diverseObjective, oneHot } from '../training/diverse/objective.js';
import { openEngine } from '../training/engine/engine.js';
import { optimizer } from '../training/optimizers/index.js';
import { withWeights } from '../training/weights/put-weights.js';
import type { Samples } from './fit.js';

export interface DiverseFitOptions {
  readonly alignment: number;
  readonly batch: number;
  readonly steps: number;
  readonly learningRate: number;
  readonly seed: number;
}

export interface DiverseFit {
  readonly models: readonly Model[];
  /** The objective, of the last batch. */
  readonly loss: number;
  readonly isFinite: boolean;
}

const CHUNK_STEPS = 100;

/** Trains models of one architecture together, by Adam, on labelled samples in memory. */
export async function trainDiverseOn(
  members: readonly Model[],
  { inputs, targets }: Samples,
  { alignment, batch, steps, learningRate, seed }: DiverseFitOptions,
): Promise<DiverseFit> {
  const objective = await diverseObjective(members, batch, { diverse: members.length, alignment });
  await using engine = await openEngine(objective.model, {
    loss: 'sum',
    output: objective.loss,
    batch,
    wrt: objective.weights,
    optimizer: optimizer('adam'),
    threads: 1,
  });
  const count = inputs.shape[0] ?? 0;
  const width = (inputs.data as Float32Array).length / Math.max(1, count);
  const { classes } = objective;
  const hot = oneHot(targets.data as BigInt64Array, classes);
  const random = new Random(seed, 'batches');
  let loss = Number.NaN;
  for (let done = 0; done < steps; ) {
    const now = Math.min(CHUNK_STEPS, steps - done);
    const x = new Float32Array(now * batch * width);
    const y = new Float32Array(now * batch * classes);
    for (let row = 0; row < now * batch; row += 1) {
      const at = random.integer(count);
      x.set((inputs.data as Float32Array).subarray(at * width, (at + 1) * width), row * width);
      y.set(hot.subarray(at * classes, (at + 1) * classes), row * classes);
    }
    const { losses } = await engine.run({
      steps: now,
      inputs: {
        [objective.samples]: { type: 'float32', shape: [now, batch, width], data: x },
        [objective.targets]: { type: 'float32', shape: [now, batch, classes], data: y },
      },
      target: undefined,
      learningRates: new Float32Array(now).fill(learningRate),
    });
    loss = losses.at(-1) ?? Number.NaN;
    if (!losses.every(Number.isFinite)) return { models: [], loss, isFinite: false };
    done += now;
  }
  const { weights } = await engine.state();
  return {
    models: members.map((member, index) => withWeights(member, objective.weightsOf(index, weights))),
    loss,
    isFinite: true,
  };
}
