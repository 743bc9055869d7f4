import { Model, type NativeArray, ValueInfo } from '../graph/index.js';
import { createMessage } from '../graph/proto/codec.js';
import {
  openSession,
  type RuntimeTensor,
  releaseTensor,
  type Session,
  type SessionOptions,
} from '../runtime/index.js';
import { bodyOf, dataInputs } from './body.js';
import { type Figures, fedData, type Runner, startsOf } from './runner.js';
import type { Step } from './step.js';
import type { Chunk } from './types.js';

interface SingleModel {
  readonly model: Model;
  readonly data: readonly string[];
  /** From the key of what is carried to its input and output. */
  readonly carried: ReadonlyMap<string, { readonly from: string; readonly to: string }>;
  readonly loss: string;
  readonly norms: string;
  readonly correct: string | undefined;
}

function singleModel(step: Step): SingleModel {
  const body = bodyOf(step, { nodes: [], constants: [] });
  const data = dataInputs(step);
  const read = new Set(body.nodes.flatMap((node) => node.input ?? []));
  const inputs = [
    ...data,
    ...step.carried.map(({ from, type, shape }) => ValueInfo.tensor(from, type, shape)),
    ValueInfo.tensor(step.learningRate, 'float32', []),
    ValueInfo.tensor(step.number, 'float32', []),
    ...(step.masks ? [ValueInfo.tensor(step.masks.input, 'int64', [step.gradient.masks.length])] : []),
  ].filter(({ name }) => read.has(name));
  const outputs = [...body.carried, body.loss, body.norms, ...(body.correct ? [body.correct] : [])];
  const model = new Model(
    createMessage('ModelProto', {
      ...step.gradient.model.proto,
      graph: createMessage('GraphProto', {
        name: 'step',
        node: [...body.nodes],
        initializer: [...body.initializers],
        sparse_initializer: [...body.sparse],
        input: inputs.map((value) => value.proto),
        output: outputs.map((value) => value.proto),
      }),
    }),
  );
  return {
    model,
    data: data.map(({ name }) => name),
    carried: new Map(
      step.carried.map(({ key, from }, index) => [key, { from, to: body.carried[index]?.name ?? '' }]),
    ),
    loss: body.loss.name,
    norms: body.norms.name,
    correct: body.correct?.name,
  };
}

/**
 * One run a step, what is carried staying on the device: for WebGPU, which has no Loop (its body would run on the CPU).
 */
export async function openSingle(step: Step, options: SessionOptions): Promise<Runner> {
  const single = singleModel(step);
  const resident = [...single.carried.values()].map(({ to }) => to);
  return new SingleRunner(step, single, await openSession(single.model, { ...options, resident }));
}

class SingleRunner implements Runner {
  readonly #step: Step;
  readonly #single: SingleModel;
  readonly #session: Session;

  constructor(step: Step, single: SingleModel, session: Session) {
    this.#step = step;
    this.#single = single;
    this.#session = session;
  }

  async run(
    chunk: Chunk,
    done: number,
    state: ReadonlyMap<string, RuntimeTensor>,
  ): Promise<{ readonly state: ReadonlyMap<string, RuntimeTensor>; readonly figures: Figures }> {
    const single = this.#single;
    const known = new Set(this.#session.inputs.map(({ name }) => name));
    const data = single.data.map((name) => [name, fedData(this.#step, chunk, name)] as const);
    const { masks } = this.#step;
    const starts = masks && startsOf(this.#step, done, chunk.steps);
    const losses: number[] = [];
    const norms: number[] = [];
    const correct: number[] = [];
    let current = state;
    for (let index = 0; index < chunk.steps; index += 1) {
      const scalar = (number: number): RuntimeTensor => ({
        type: 'float32',
        shape: [],
        data: Float32Array.of(number),
      });
      const feeds: Record<string, RuntimeTensor> = {
        [this.#step.learningRate]: scalar(chunk.learningRates[index] ?? 0),
        [this.#step.number]: scalar(done + index + 1),
      };
      if (masks && starts) feeds[masks.input] = rowOf(starts, index);
      for (const [name, tensor] of data) feeds[name] = rowOf(tensor, index);
      for (const [key, { from }] of single.carried) feeds[from] = current.get(key) as RuntimeTensor;
      const results = await this.#session.run(
        Object.fromEntries(Object.entries(feeds).filter(([name]) => known.has(name))),
      );
      const numbers = (name: string): ArrayLike<number> => results[name]?.data as Float32Array;
      losses.push(...Array.from(numbers(single.loss)));
      norms.push(...Array.from(numbers(single.norms)));
      if (single.correct !== undefined) correct.push(...Array.from(numbers(single.correct)));
      const next = new Map([...single.carried].map(([key, { to }]) => [key, results[to] as RuntimeTensor]));
      // What is between the chunk's begin and its end; the begin is the caller's.
      if (current !== state) for (const tensor of current.values()) releaseTensor(tensor);
      current = next;
    }
    return {
      state: current,
      figures: {
        losses: Float32Array.from(losses),
        norms: Float32Array.from(norms),
        correct: single.correct === undefined ? undefined : Float32Array.from(correct),
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }
}

/** One step's part of what was given for all. */
function rowOf(tensor: RuntimeTensor, index: number): RuntimeTensor {
  const shape = tensor.shape.slice(1);
  const size = shape.reduce((product, dim) => product * dim, 1);
  const data = (tensor.data as Float32Array).subarray(index * size, (index + 1) * size) as NativeArray;
  return { type: tensor.type, shape, data };
}
