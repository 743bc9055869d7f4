import { createModel, type Model, type NativeArray, ValueInfo } from '../../graph/index.js';
import { createMessage } from '../../graph/proto/codec.js';
import { openSession, type RuntimeTensor, releaseTensor, type SessionOptions } from '../../runtime/index.js';
import type { Chunk } from '../types.js';
import { type Body, bodyOf, dataInputs } from './body.js';
import { fedData, type Runner, startsOf } from './runner.js';
import type { Step } from './step.js';

/** A model that does one step. */
export function singleModel(step: Step, body: Body, outputs: readonly ValueInfo[]): Model {
  const read = new Set(body.nodes.flatMap((node) => node.input ?? []));
  const inputs = [
    ...dataInputs(step),
    ...step.carried.map(({ from, type, shape }) => ValueInfo.tensor(from, type, shape)),
    ...step.held.map(({ name, type, shape }) => ValueInfo.tensor(name, type, shape)),
    ValueInfo.tensor(step.learningRate, 'float32', []),
    ValueInfo.tensor(step.number, 'float32', []),
    ...(step.masks ? [ValueInfo.tensor(step.masks.input, 'int64', [step.gradient.masks.length])] : []),
  ].filter(({ name }) => read.has(name));
  return createModel(
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
}

/**
 * What such a model is fed for one step of a chunk.
 *
 * @param done steps before the chunk
 */
export function singleFeeds(
  step: Step,
  { chunk, index, done }: { readonly chunk: Chunk; readonly index: number; readonly done: number },
  state: ReadonlyMap<string, RuntimeTensor>,
): Record<string, RuntimeTensor> {
  const scalar = (number: number): RuntimeTensor => ({
    type: 'float32',
    shape: [],
    data: Float32Array.of(number),
  });
  const feeds: Record<string, RuntimeTensor> = {
    [step.learningRate]: scalar(chunk.learningRates[index] ?? 0),
    [step.number]: scalar(done + index + 1),
  };
  if (step.masks) feeds[step.masks.input] = rowOf(startsOf(step, done + index, 1), 0);
  for (const { name } of dataInputs(step)) feeds[name] = rowOf(fedData(step, chunk, name), index);
  for (const { key, from } of step.carried) feeds[from] = state.get(key) as RuntimeTensor;
  for (const { key, name } of step.held) feeds[name] = state.get(key) as RuntimeTensor;
  return feeds;
}

/**
 * One run a step, what is carried staying on the device: for WebGPU, which has no Loop (its body would run on the CPU).
 */
export async function openSingle(step: Step, options: SessionOptions): Promise<Runner> {
  const body = bodyOf(step, { nodes: [], constants: [] });
  const { loss, norms, correct } = body;
  const outputs = [...body.carried, loss, norms, ...(correct ? [correct] : [])];
  const resident = body.carried.map(({ name }) => name);
  const session = await openSession(singleModel(step, body, outputs), { ...options, resident });
  const known = new Set(session.inputs.map(({ name }) => name));
  return {
    run: async (chunk, done, state) => {
      const found = { losses: [] as number[], norms: [] as number[], correct: [] as number[] };
      let current = state;
      for (let index = 0; index < chunk.steps; index += 1) {
        const feeds = singleFeeds(step, { chunk, index, done }, new Map([...state, ...current]));
        const results = await session.run(
          Object.fromEntries(Object.entries(feeds).filter(([name]) => known.has(name))),
        );
        const numbers = ({ name }: ValueInfo): number[] => Array.from(results[name]?.data as Float32Array);
        found.losses.push(...numbers(loss));
        found.norms.push(...numbers(norms));
        if (correct !== undefined) found.correct.push(...numbers(correct));
        // What is between the chunk's begin and its end; the begin is the caller's.
        if (current !== state) for (const tensor of current.values()) releaseTensor(tensor);
        current = new Map(
          step.carried.map(({ key }, place) => [key, results[resident[place] ?? ''] as RuntimeTensor]),
        );
      }
      return {
        state: current,
        figures: {
          losses: Float32Array.from(found.losses),
          norms: Float32Array.from(found.norms),
          correct: correct && Float32Array.from(found.correct),
        },
      };
    },
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}

/** One step's part of what was given for all. */
export function rowOf(tensor: RuntimeTensor, index: number): RuntimeTensor {
  const shape = tensor.shape.slice(1);
  const size = shape.reduce((product, dim) => product * dim, 1);
  const data = (tensor.data as Float32Array).subarray(index * size, (index + 1) * size) as NativeArray;
  return { type: tensor.type, shape, data };
}
