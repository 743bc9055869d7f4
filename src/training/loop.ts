import { type DataType, Model, ModelError, makeNode, type NodeSpec, ValueInfo } from '../graph/index.js';
import { createMessage } from '../graph/proto/codec.js';
import type { GraphProto } from '../graph/proto/schema.js';
import { Builder } from '../passes/gradient/builder.js';
import type { Step } from './step.js';

/** A model that does many steps in one run, and the names of what goes in and comes out. */
export interface LoopModel {
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
export function loopModel(step: Step): LoopModel {
  const base = step.gradient.model;
  const fresh = (name: string): string => base.freshName(name);
  const proto = base.graph.proto as GraphProto;
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
  const isInner = new Set([
    ...step.carried.map(({ from }) => from),
    ...step.gradient.masks.map(({ name }) => name),
  ]);
  const data = new Map<string, ValueInfo>();
  for (const { name, dataType, shape } of base.graph.inputs) {
    if (isInner.has(name)) continue;
    if (dataType === undefined)
      throw new ModelError(`input '${name}' is no tensor, so no chunk of it can be fed`);
    const outer = ValueInfo.tensor(fresh(`loop/data/${name}`), dataType, ['steps', ...(shape ?? [])]);
    data.set(name, outer);
    head.nodes.push(gather(outer.name, name));
  }

  // A name of its own for what is no node's output or leaves twice: a copy, which the others are spared.
  const tail: NodeSpec[] = [];
  const made = new Set([...base.graph.nodes, ...step.build.nodes].flatMap(({ outputs }) => outputs));
  const leave = (from: string, type: DataType, shape: readonly number[]): ValueInfo => {
    if (made.delete(from)) return ValueInfo.tensor(from, type, shape);
    const name = fresh('loop/out');
    tail.push({ opType: 'Identity', inputs: [from], outputs: [name] });
    return ValueInfo.tensor(name, type, shape);
  };
  const bodyOutputs = [
    leave(goOn, 'bool', []),
    ...step.carried.map(({ to, type, shape }) => leave(to, type, shape)),
    leave(step.loss.name, 'float32', []),
    leave(step.norms.name, 'float32', step.norms.shape),
    ...(step.correct ? [leave(step.correct.name, 'float32', [])] : []),
  ];
  const body = createMessage('GraphProto', {
    name: 'step',
    node: [
      ...[...head.nodes, ...step.before.nodes].map(makeNode),
      ...base.graph.nodes.map((node) => node.proto),
      ...[...step.build.nodes, ...tail].map(makeNode),
    ],
    input: [
      ValueInfo.tensor(iteration, 'int64', []),
      ValueInfo.tensor(goOn, 'bool', []),
      ...step.carried.map(({ from, type, shape }) => ValueInfo.tensor(from, type, shape)),
    ].map((value) => value.proto),
    output: bodyOutputs.map((value) => value.proto),
    initializer: [
      ...(proto.initializer ?? []),
      ...[head, step.before, step.build].flatMap(({ constants }) => constants.map((tensor) => tensor.proto)),
      ...(step.masks?.tables ?? []).map((tensor) => tensor.proto),
    ],
    sparse_initializer: [...(proto.sparse_initializer ?? [])],
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
  ];
  return {
    model: new Model(
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
