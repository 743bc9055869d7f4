import {
  ancestors,
  createModel,
  createNode,
  type GraphProto,
  isFloatType,
  type Model,
  ModelError,
  makeNode,
  type Node,
  type NodeProto,
  specOf,
  Tensor,
  ValueInfo,
  valuesRead,
} from '../graph/index.js';
import { createMessage, fromBigInt } from '../graph/proto/codec.js';
import { trainableWeights } from '../passes/gradient/index.js';
import { settledInputs } from '../passes/gradient/prepare/infer-shapes.js';
import { inlined } from '../passes/gradient/prepare/inline.js';
import { openedBatch } from '../passes/gradient/prepare/rebatch.js';
import { OPSET, upgraded } from '../passes/gradient/prepare/upgrade.js';
import { predictionOf } from '../passes/gradient/request.js';
import { buildStep, type Step, type StepOptions } from './engine/step.js';
import { checkNotNegative } from './optimizers/ranges.js';
import { decayedWeights } from './optimizers/weight-decay.js';

/** The IR version that knows training_info. */
const IR_VERSION = 7;

/** Options of withTrainingInfo. */
export interface TrainingInfoOptions
  extends Omit<StepOptions, 'batch' | 'emaDecay' | 'weightDecayOf' | 'masks' | 'roundWeights'> {
  /** Samples a step, where the model leaves its batch open or says 1. */
  readonly batch?: number | undefined;
  /** Of the weights that `decayedWeights` names; default 0. */
  readonly weightDecay?: number | undefined;
  /** Stands in the algorithm as an initializer, so that whoever runs it can change it. */
  readonly learningRate: number;
}

/** What withTrainingInfo returns. */
export interface TrainingInfo {
  /** The model with one more training_info; its own graph computes what it did. */
  readonly model: Model;
  readonly account: TrainingInfoAccount;
}

/** What a training_info holds. */
export interface TrainingInfoAccount {
  /** Name of the input for labels or targets; undefined of a loss without. */
  readonly target: string | undefined;
  /** The output of the algorithm that is the loss before the update. */
  readonly loss: string;
  /** The initializer that holds the learning rate. */
  readonly learningRate: string;
  /** Initializers of the model that the algorithm updates: weights and running statistics. */
  readonly updated: readonly string[];
  /** Initializers of the algorithm that it updates: the optimizer's state and the number of steps. */
  readonly state: readonly string[];
  /** Nodes of the algorithm. */
  readonly nodes: number;
  /** Nodes of the model's own graph that the algorithm reads from instead of having them again. */
  readonly shared: number;
  /** The operator set that the model had, where it was raised for the algorithm's sake. */
  readonly raisedFrom: number | undefined;
  /** Weights that the loss does not depend on. */
  readonly unreached: readonly string[];
}

/**
 * The model with a training step in the ONNX standard's own form, TrainingInfoProto: an algorithm (loss, gradients,
 * the optimizer's update) that reads the values of the model's own graph where training computes the same, bindings
 * that say which initializer takes which output, and an initialization that sets the optimizer's state back to zero.
 *
 * One execution runs the model's graph and the algorithm's together, as the standard's onnx.proto defines it. Sizes are
 * baked into the algorithm, so the inputs of the model must be fed with the batch that is given here. A model of an
 * operator set before 18 is raised to it.
 *
 * @throws OptionError, GradientError and ModelError as `gradient` does
 * @example
 * const { model: trainable } = await withTrainingInfo(model, {
 *   loss: 'cross-entropy', batch: 64, optimizer: optimizer('adam'), learningRate: 1e-3,
 * });
 */
export async function withTrainingInfo(model: Model, options: TrainingInfoOptions): Promise<TrainingInfo> {
  const host = await hostOf(model, options);
  const { weightDecay = 0 } = options;
  const weightDecayOf = (name: string): number =>
    weightDecay > 0 && decayedWeights(host.model.graph, [name]).has(name) ? weightDecay : 0;
  const step = await buildStep(host.model, {
    ...options,
    batch: host.batch,
    weightDecayOf,
    // Whoever runs the algorithm knows of no masks to feed.
    masks: 'operator',
    // A binding sets an initializer of the model, in the type that it has.
    roundWeights: true,
  });
  const info = new InfoBuilder(host.model, step, options.learningRate);
  const built = info.build();
  const { proto } = host.model;
  const imports = [...(proto.opset_import ?? [])];
  for (const entry of step.gradient.model.proto.opset_import ?? []) {
    const isKnown = imports.some(
      ({ domain = '' }) => domain.replace(/^ai\.onnx$/, '') === (entry.domain ?? ''),
    );
    if (!isKnown) imports.push(entry);
  }
  return {
    model: createModel(
      createMessage('ModelProto', {
        ...proto,
        ir_version: fromBigInt(Math.max(host.model.irVersion, IR_VERSION)),
        opset_import: imports,
        training_info: [...(proto.training_info ?? []), built.info],
      }),
    ),
    account: { ...built.account, raisedFrom: host.raisedFrom, unreached: step.gradient.unreached },
  };
}

/** The model as it must be for an algorithm to build on: in operator set 18, what is trained among its initializers. */
async function hostOf(
  model: Model,
  options: TrainingInfoOptions,
): Promise<{ readonly model: Model; readonly batch: number; readonly raisedFrom: number | undefined }> {
  const from = model.opset();
  const plain = inlined(model);
  const inputs = settledInputs(plain, options);
  const batch = options.batch ?? Number(inputs[0]?.shape?.[0] ?? 1);
  const fitting = await openedBatch(plain, inputs);
  const base = await upgraded(fitting, inputs);
  const loss = typeof options.loss === 'string' ? options.loss : options.loss.kind;
  const weights = options.wrt ?? trainableWeights(base.graph, predictionOf(base, options.output, loss));
  const statistics = base.graph.nodes.flatMap((node) =>
    node.is('BatchNormalization') ? node.inputs.slice(3, 5) : [],
  );
  const isReady = [...weights, ...statistics].every((name) => fitting.graph.initializers.has(name));
  if (from >= OPSET && isReady) return { model: fitting, batch, raisedFrom: undefined };
  const graph = createMessage('GraphProto', {
    ...(base.graph.proto as GraphProto),
    // The sizes stay open where they were.
    input: (fitting.graph.proto as GraphProto).input ?? [],
    output: (fitting.graph.proto as GraphProto).output ?? [],
  });
  const raised = createModel(
    createMessage('ModelProto', { ...base.proto, graph, training_info: model.proto.training_info ?? [] }),
  );
  return { model: raised, batch, raisedFrom: from < OPSET ? from : undefined };
}

class InfoBuilder {
  readonly #host: Model;
  readonly #step: Step;
  readonly #learningRate: number;
  readonly #taken: Set<string>;
  /** From names in the step to names in the algorithm, where they differ. */
  readonly #renamed = new Map<string, string>();
  /** Names that are settled. */
  readonly #settled = new Set<string>();
  /** Outputs that the algorithm makes once more and does not read, by what they are called there. */
  readonly #doubles = new Map<string, string>();

  constructor(host: Model, step: Step, learningRate: number) {
    checkNotNegative(learningRate, 'learningRate');
    this.#host = host;
    this.#step = step;
    this.#learningRate = learningRate;
    this.#taken = new Set([...host.graphs()].flatMap((graph) => [...graph.names()]));
  }

  build() {
    const { gradient, build, carried, learningRate, number, loss } = this.#step;
    const { graph } = gradient.model;
    const own = this.#ownNodes();
    const wanted = [loss.name, ...carried.map(({ to }) => to)];
    const specs = ancestors(
      [...own, ...build.nodes.map((spec) => createNode(makeNode(spec), graph))],
      wanted,
    ).map(({ proto }) => proto);
    for (const output of specs.flatMap((node) => node.output ?? []))
      if (!this.#doubles.has(output)) this.#take(output);
    const target = gradient.target === undefined ? undefined : this.#take(gradient.target);
    const constants = [...graph.initializers.values(), ...build.constants].filter(
      ({ name }) => this.#host.graph.resolve(name) === undefined,
    );
    for (const { name } of constants) this.#take(name);
    const rate = this.#take(learningRate);
    const counter = this.#fresh('training/steps');
    const one = this.#fresh('training/one');
    const slots = carried.filter(({ kind }) => kind === 'slot');
    for (const { from } of slots) this.#take(from);
    this.#take(number);

    const scalar = (name: string, value: number): Tensor =>
      Tensor.of(name, 'float32', [], Float32Array.of(value));
    const count = makeNode({
      opType: 'Add',
      inputs: [counter, one],
      outputs: [this.#name(number)],
      name: this.#name(number),
    });
    const bindings = [
      ...carried.map(({ key, kind, from, to, type, shape }) => ({
        key: kind === 'weight' ? key : this.#name(from),
        value: ValueInfo.tensor(this.#name(to), type, shape),
      })),
      { key: counter, value: ValueInfo.tensor(this.#name(number), 'float32', []) },
    ];
    const state = [
      ...slots.map(({ from, type, shape }) => ({ name: this.#name(from), type, shape })),
      {
        name: counter,
        type: 'float32' as const,
        shape: [] as readonly number[],
      },
    ];
    const used = new Set(specs.flatMap((node) => node.input ?? []));
    const algorithm = createMessage('GraphProto', {
      name: 'training',
      node: [count, ...specs.map((proto) => this.#renamedNode(proto))],
      input: target === undefined ? [] : [this.#targetInfo(target).proto],
      output: [
        ValueInfo.tensor(this.#name(loss.name), loss.type, loss.shape).proto,
        ...bindings.map(({ value }) => value.proto),
      ],
      initializer: [
        ...constants
          .filter(({ name }) => used.has(name))
          .map((tensor) => tensor.renamed(this.#name(tensor.name)).proto),
        scalar(rate, this.#learningRate).proto,
        scalar(one, 1).proto,
        ...state.map(({ name, type, shape }) => zeros(name, type, shape).proto),
      ],
    });
    const info = createMessage('TrainingInfoProto', {
      algorithm,
      update_binding: bindings.map(({ key, value }) => entry(key, value.name)),
      ...this.#initialization(state),
    });
    return {
      info,
      account: {
        target,
        loss: this.#name(loss.name),
        learningRate: rate,
        updated: carried.filter(({ kind }) => kind === 'weight').map(({ key }) => key),
        state: state.map(({ name }) => name),
        nodes: (algorithm.node ?? []).length,
        shared: graph.nodes.length - own.length,
      },
    };
  }

  /** The nodes of the gradient's model that are not those of the host with the same values before them. */
  #ownNodes(): Node[] {
    const theirs = new Set(this.#host.graph.nodes.map(({ proto }) => proto));
    const made = new Set<string>();
    return this.#step.gradient.model.graph.nodes.filter((node) => {
      const readsTheirs = [...valuesRead(node.proto)].every((name) => !made.has(name));
      if (readsTheirs && theirs.has(node.proto)) return false;
      const isDouble = readsTheirs && this.#asksForMore(node);
      for (const [index, output] of node.outputs.entries()) {
        if (isDouble && index === 0) this.#doubles.set(output, this.#fresh(output));
        else made.add(output);
      }
      return true;
    });
  }

  /** A LayerNormalization that the gradient only asks for its statistics: what it puts out first is the host's. */
  #asksForMore(node: Node): boolean {
    const theirs = this.#host.graph.producer(node.outputs[0] ?? '');
    return (
      node.is('LayerNormalization') &&
      theirs?.is('LayerNormalization') === true &&
      theirs.inputs.join('\n') === node.inputs.join('\n')
    );
  }

  /** A name of the step, made unique in the model and its algorithm together. */
  #take(name: string): string {
    if (name === '') return name;
    const known = this.#renamed.get(name);
    if (known !== undefined) return known;
    if (this.#settled.has(name)) return name;
    const free = this.#fresh(name);
    this.#settled.add(name);
    if (free !== name) this.#renamed.set(name, free);
    return free;
  }

  #fresh(base: string): string {
    let name = base;
    if (this.#taken.has(name)) name = `training/${base}`;
    for (let count = 2; this.#taken.has(name); count += 1) name = `training/${base}_${count}`;
    this.#taken.add(name);
    return name;
  }

  #name(name: string): string {
    return this.#renamed.get(name) ?? name;
  }

  #renamedNode(proto: NodeProto): NodeProto {
    const inner = (proto.attribute ?? []).some(({ g, graphs }) => g || (graphs ?? []).length > 0);
    if (inner && this.#renamed.size > 0) {
      throw new ModelError(
        'has subgraphs, and nodes with subgraphs are not written into a training algorithm',
        {
          file: this.#host.path,
          node: proto.name || proto.op_type || '',
        },
      );
    }
    return makeNode({
      ...specOf(proto),
      inputs: (proto.input ?? []).map((name) => this.#name(name)),
      outputs: (proto.output ?? []).map((name) => this.#doubles.get(name) ?? this.#name(name)),
      name: `training/${proto.name || proto.output?.[0] || ''}`,
    });
  }

  #targetInfo(name: string): ValueInfo {
    const { target, model } = this.#step.gradient;
    const info = model.graph.inputs.find((input) => input.name === target);
    if (info?.dataType === undefined) throw new ModelError(`has no input '${String(target)}'`);
    return ValueInfo.tensor(name, info.dataType, info.shape);
  }

  /** Sets the optimizer's state back. */
  #initialization(state: readonly { name: string; type: Tensor['dataType']; shape: readonly number[] }[]) {
    const parts = state.map(({ name, type, shape }) => {
      const [output, sizes] = [this.#fresh(`training/reset/${name}`), this.#fresh(`training/shape/${name}`)];
      const value = zeros('', type, [1]);
      return {
        node: makeNode({
          opType: 'ConstantOfShape',
          name: output,
          inputs: [sizes],
          outputs: [output],
          attributes: { value: { tensor: value } },
        }),
        output: ValueInfo.tensor(output, type, shape).proto,
        initializer: Tensor.of(sizes, 'int64', [shape.length], BigInt64Array.from(shape, BigInt)).proto,
        binding: entry(name, output),
      };
    });
    return {
      initialization: createMessage('GraphProto', {
        name: 'initialization',
        node: parts.map(({ node }) => node),
        output: parts.map(({ output }) => output),
        initializer: parts.map(({ initializer }) => initializer),
      }),
      initialization_binding: parts.map(({ binding }) => binding),
    };
  }
}

function entry(key: string, value: string) {
  return createMessage('StringStringEntryProto', { key, value });
}

function zeros(name: string, type: Tensor['dataType'], shape: readonly number[]): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  if (type === 'float64') return Tensor.of(name, type, shape, new Float64Array(size));
  if (!isFloatType(type)) throw new ModelError(`no state of type ${type} is kept`);
  if (type === 'float32') return Tensor.of(name, type, shape, new Float32Array(size));
  return Tensor.of(name, type, shape, new Uint16Array(size));
}

/** What one step of a training_info runs. */
export interface TrainingStep {
  /** Model graph and algorithm together; what the step updates are inputs. */
  readonly model: Model;
  /** From each initializer that is updated to the output that is its new value. */
  readonly updates: ReadonlyMap<string, string>;
  /** The values that the model has for them. */
  readonly initial: ReadonlyMap<string, Tensor>;
}

/**
 * The graph that one execution of a model's training algorithm runs: the standard's concatenation of its own graph and the
 * algorithm's, with the mutable initializers as inputs, so that a caller can feed what the step before put out.
 *
 * @param index which training_info; default the first
 * @throws ModelError for a model without one, and bindings that name no initializer or output
 * @example
 * const { model: step, updates, initial } = trainingStep(await readModel('trainable.onnx'));
 * for (const [weight, output] of updates) console.log(weight, initial.get(weight)?.shape, output);
 */
export function trainingStep(model: Model, index = 0): TrainingStep {
  const info = model.proto.training_info?.[index];
  if (info?.algorithm === undefined) {
    throw new ModelError(`has no training_info ${index} with an algorithm`, { file: model.path });
  }
  const [main, algorithm] = [model.graph.proto as GraphProto, info.algorithm];
  const updates = new Map((info.update_binding ?? []).map(({ key = '', value = '' }) => [key, value]));
  const tensors = new Map(
    [...(main.initializer ?? []), ...(algorithm.initializer ?? [])].map((tensor) => [
      tensor.name ?? '',
      tensor,
    ]),
  );
  const outputs = new Set([...(algorithm.output ?? []), ...(main.output ?? [])].map(({ name = '' }) => name));
  const initial = new Map<string, Tensor>();
  for (const [key, value] of updates) {
    const tensor = tensors.get(key);
    if (tensor === undefined || !outputs.has(value)) {
      throw new ModelError(
        tensor === undefined
          ? `its update_binding sets '${key}', which is no initializer`
          : `its update_binding sets '${key}' to '${value}', which is no output`,
        { file: model.path, graph: algorithm.name ?? 'training' },
      );
    }
    initial.set(key, new Tensor(tensor));
  }
  const inputs = [...initial.values()].map(
    ({ name, dataType, shape }) => ValueInfo.tensor(name, dataType, shape).proto,
  );
  const listed = [...(main.input ?? []), ...(algorithm.input ?? [])].filter(
    ({ name = '' }) => !initial.has(name),
  );
  const combined = createModel(
    createMessage('ModelProto', {
      ...model.proto,
      training_info: [],
      graph: createMessage('GraphProto', {
        ...main,
        node: [...(main.node ?? []), ...(algorithm.node ?? [])],
        input: [...listed, ...inputs],
        output: [...(main.output ?? []), ...(algorithm.output ?? [])],
        initializer: [...tensors].filter(([name]) => !initial.has(name)).map(([, tensor]) => tensor),
        sparse_initializer: [...(main.sparse_initializer ?? []), ...(algorithm.sparse_initializer ?? [])],
        value_info: [...(main.value_info ?? []), ...(algorithm.value_info ?? [])],
      }),
    }),
  );
  return { model: combined, updates, initial };
}
