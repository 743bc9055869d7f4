import {
  createModel,
  type Model,
  ModelError,
  makeNode,
  type NodeSpec,
  ValueInfo,
} from '../../graph/index.js';
import { createMessage } from '../../graph/proto/codec.js';
import { Builder } from '../../passes/gradient/builder.js';
import { openSession, type RuntimeTensor, type SessionOptions } from '../../runtime/index.js';
import { bodyOf, dataInputs } from './body.js';
import { fedData, type Runner, startsOf } from './runner.js';
import type { Step } from './step.js';

/** A model that does many steps in one run, and the names of what goes in and comes out. */
interface LoopModel {
  readonly model: Model;
  /** From a data input or target of the step to the input that holds it for all steps, [steps, batch, ...]. */
  readonly data: ReadonlyMap<string, string>;
  /** Number of steps, int64 []. */
  readonly steps: string;
  /** Steps done before, float32 []. */
  readonly done: string;
  /** float32 [steps]. */
  readonly learningRates: string;
  /** int64 [steps, masks]; undefined without Dropout. */
  readonly starts: string | undefined;
  /** From the key of what is carried to the input that holds it before the run and the output after it. */
  readonly carried: ReadonlyMap<string, { readonly from: string; readonly to: string }>;
  /** Outputs, [steps] each. */
  readonly losses: string;
  readonly correct: string | undefined;
  /** [steps, trained] */
  readonly norms: string;
}

/**
 * Puts a step into the body of a Loop: weights, statistics and slots are carried from step to step, and data are
 * gathered from what was fed for all of them. So onnxruntime copies the weights once a chunk, not once a step.
 */
function loopModel(step: Step): LoopModel {
  const base = step.gradient.model;
  const fresh = (name: string): string => base.freshName(name);
  const iteration = fresh('loop/iteration');
  const goOn = fresh('loop/condition');
  const steps = ValueInfo.tensor(fresh('loop/steps'), 'int64', []);
  const done = ValueInfo.tensor(fresh('loop/done'), 'float32', []);
  const rates = ValueInfo.tensor(fresh('loop/learning_rates'), 'float32', ['steps']);

  const head = new Builder(fresh);
  head.scope = 'loop';
  const gather = (from: string, to: string): NodeSpec => ({
    opType: 'Gather',
    name: fresh(`loop/gather/${to}`),
    inputs: [from, iteration],
    outputs: [to],
    attributes: { axis: { int: 0 } },
  });
  const count = head.cast({ name: iteration, type: 'int64', shape: [] }, 'float32');
  const number = head.shift(head.add({ name: done.name, type: 'float32', shape: [] }, count), 1);
  head.nodes.push({ opType: 'Identity', inputs: [number.name], outputs: [step.number] });
  head.nodes.push(gather(rates.name, step.learningRate));
  const starts =
    step.masks && ValueInfo.tensor(fresh('loop/starts'), 'int64', ['steps', step.gradient.masks.length]);
  if (starts && step.masks) head.nodes.push(gather(starts.name, step.masks.input));
  const data = new Map<string, ValueInfo>();
  for (const { name, dataType, shape } of dataInputs(step)) {
    if (dataType === undefined)
      throw new ModelError(`input '${name}' is no tensor, so no chunk of it can be fed`);
    const outer = ValueInfo.tensor(fresh(`loop/data/${name}`), dataType, ['steps', ...(shape ?? [])]);
    data.set(name, outer);
    head.nodes.push(gather(outer.name, name));
  }

  const inner = bodyOf(step, head);
  const goesOn = fresh('loop/goes_on');
  const body = createMessage('GraphProto', {
    name: 'step',
    node: [...inner.nodes, makeNode({ opType: 'Identity', inputs: [goOn], outputs: [goesOn] })],
    input: [
      ValueInfo.tensor(iteration, 'int64', []),
      ValueInfo.tensor(goOn, 'bool', []),
      ...step.carried.map(({ from, type, shape }) => ValueInfo.tensor(from, type, shape)),
    ].map((value) => value.proto),
    output: [
      ValueInfo.tensor(goesOn, 'bool', []),
      ...inner.carried,
      inner.loss,
      inner.norms,
      ...(inner.correct ? [inner.correct] : []),
    ].map((value) => value.proto),
    initializer: [...inner.initializers],
    sparse_initializer: [...inner.sparse],
  });

  const carried = step.carried.map(({ key, type, shape }) => ({
    key,
    from: ValueInfo.tensor(fresh(`from/${key}`), type, shape),
    to: ValueInfo.tensor(fresh(`to/${key}`), type, shape),
  }));
  const losses = ValueInfo.tensor(fresh('losses'), 'float32', ['steps']);
  const norms = ValueInfo.tensor(fresh('gradient_norms'), 'float32', ['steps', ...step.norms.shape]);
  const correct = step.correct && ValueInfo.tensor(fresh('correct'), 'float32', ['steps']);
  const outputs = [...carried.map(({ to }) => to), losses, norms, ...(correct ? [correct] : [])];
  const loop = makeNode({
    opType: 'Loop',
    name: fresh('loop'),
    inputs: [steps.name, '', ...carried.map(({ from }) => from.name)],
    outputs: outputs.map(({ name }) => name),
    attributes: { body: { graph: body } },
  });
  const inputs = [
    steps,
    done,
    rates,
    ...(starts ? [starts] : []),
    ...data.values(),
    ...carried.map(({ from }) => from),
    // The body takes them from outside, so that nothing copies them from step to step.
    ...step.held.map(({ name, type, shape }) => ValueInfo.tensor(name, type, shape)),
  ];
  return {
    model: createModel(
      createMessage('ModelProto', {
        ...base.proto,
        graph: createMessage('GraphProto', {
          name: 'training',
          node: [loop],
          input: inputs.map((value) => value.proto),
          output: outputs.map((value) => value.proto),
        }),
      }),
    ),
    data: new Map([...data].map(([name, outer]) => [name, outer.name])),
    steps: steps.name,
    done: done.name,
    learningRates: rates.name,
    starts: starts?.name,
    carried: new Map(carried.map(({ key, from, to }) => [key, { from: from.name, to: to.name }])),
    losses: losses.name,
    norms: norms.name,
    correct: correct?.name,
  };
}

/** All steps of a chunk in one run: on the CPU and CUDA, which have Loop. */
export async function openLoop(step: Step, options: SessionOptions): Promise<Runner> {
  const loop = loopModel(step);
  const session = await openSession(loop.model, options);
  return {
    run: async (chunk, done, state) => {
      const { steps, learningRates } = chunk;
      const feeds: Record<string, RuntimeTensor> = {
        [loop.steps]: { type: 'int64', shape: [], data: BigInt64Array.of(BigInt(steps)) },
        [loop.done]: { type: 'float32', shape: [], data: Float32Array.of(done) },
        [loop.learningRates]: { type: 'float32', shape: [steps], data: learningRates },
      };
      if (loop.starts !== undefined) feeds[loop.starts] = startsOf(step, done, steps);
      for (const [name, input] of loop.data) feeds[input] = fedData(step, chunk, name);
      for (const [key, { from }] of loop.carried) feeds[from] = state.get(key) as RuntimeTensor;
      for (const { key, name } of step.held) feeds[name] = state.get(key) as RuntimeTensor;
      const results = await session.run(feeds);
      const floats = (name: string): Float32Array => results[name]?.data as Float32Array;
      return {
        state: new Map([...loop.carried].map(([key, { to }]) => [key, results[to] as RuntimeTensor])),
        figures: {
          losses: floats(loop.losses),
          correct: loop.correct === undefined ? undefined : floats(loop.correct),
          norms: floats(loop.norms),
        },
      };
    },
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}
