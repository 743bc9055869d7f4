import { ModelError, type NativeArray } from '../../graph/index.js';
import { convert, type RuntimeTensor } from '../../runtime/index.js';
import type { Chunk } from '../types.js';
import type { Step } from './step.js';

/** Figures of each step. */
export interface Figures {
  readonly losses: Float32Array;
  readonly correct: Float32Array | undefined;
  /** [steps, trained] */
  readonly norms: Float32Array;
}

/** Does the steps of a chunk, from a state to the next. */
export interface Runner extends AsyncDisposable {
  /**
   * @param done steps before the chunk
   * @param state by key; left as it is
   * @returns what the steps change of the state
   */
  run(
    chunk: Chunk,
    done: number,
    state: ReadonlyMap<string, RuntimeTensor>,
  ): Promise<{ readonly state: ReadonlyMap<string, RuntimeTensor>; readonly figures: Figures }>;
}

/** The first steps of a chunk. */
export function firstSteps({ inputs, target, learningRates }: Chunk, steps: number): Chunk {
  const cut = (tensor: RuntimeTensor): RuntimeTensor => {
    const shape = [steps, ...tensor.shape.slice(1)];
    const size = shape.reduce((product, dim) => product * dim, 1);
    return { ...tensor, shape, data: (tensor.data as Float32Array).subarray(0, size) as NativeArray };
  };
  return {
    steps,
    inputs: Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, cut(tensor)])),
    target: target && cut(target),
    learningRates: learningRates.subarray(0, steps),
  };
}

/** The tensor of a chunk that a step's input takes its part of, in the type that the input has. */
export function fedData(step: Step, chunk: Chunk, name: string): RuntimeTensor {
  const isTarget = name === step.gradient.target;
  const tensor = isTarget ? chunk.target : chunk.inputs[name];
  if (tensor === undefined)
    throw new ModelError(`a chunk lacks ${isTarget ? 'its target' : `the input '${name}'`}`);
  const type = step.gradient.model.graph.inputs.find((input) => input.name === name)?.dataType;
  return type === undefined ? tensor : convert(tensor, type);
}

/** Where the masks of Dropout begin, int64 [steps, masks]. */
export function startsOf(step: Step, done: number, steps: number): RuntimeTensor {
  const starts = Array.from({ length: steps }, (_, index) => step.masks?.starts(done + index) ?? []).flat();
  return {
    type: 'int64',
    shape: [steps, starts.length / steps],
    data: BigInt64Array.from(starts, BigInt),
  };
}
