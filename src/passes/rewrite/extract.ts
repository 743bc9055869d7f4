import {
  ancestors,
  check,
  createModel,
  type Model,
  ModelError,
  ValueInfo,
  valuesRead,
} from '../../graph/index.js';
import { OptionError } from '../../graph/option-descriptors.js';
import { createMessage } from '../../graph/proto/codec.js';
import type { GraphProto } from '../../graph/proto/schema.js';
import { fedInputs, openSession } from '../../runtime/index.js';
import { partOf } from '../../runtime/session/part.js';

/** Options of extract. */
export interface ExtractOptions {
  /** Values of the main graph that become inputs, in place of what makes them. Default: the model's inputs that are needed. */
  readonly inputs?: readonly string[] | undefined;
  /** Values of the main graph that become the outputs; default the model's. */
  readonly outputs?: readonly string[] | undefined;
}

/** What extract returns. */
export interface Extraction {
  /** A model of its own, which shares the weights. */
  readonly model: Model;
  readonly nodes: number;
  /** Inputs of the model that were not named, but that the outputs need. */
  readonly alsoNeeded: readonly string[];
  /** Named inputs that no output depends on; the part has them all the same. */
  readonly unread: readonly string[];
}

/**
 * The part of a model between values: what makes the outputs of the inputs, runnable. Types of inner values come from the file or, where
 * it does not say them, from onnxruntime. Functions and metadata stay; training_info goes.
 *
 * @throws OptionError for values that there are not; ModelError for a value whose type cannot be found, and a model that onnxruntime refuses
 * @example
 * const { model: head } = await extract(model, { inputs: ['features'] });
 * await saveModel(head, 'head.onnx');
 */
export async function extract(model: Model, options: ExtractOptions = {}): Promise<Extraction> {
  const { graph } = model;
  const outputs = options.outputs ?? graph.outputs.map(({ name }) => name);
  const named = options.inputs ?? [];
  for (const [option, names] of Object.entries({ inputs: named, outputs })) {
    const missing = names.find((name) => graph.resolve(name) === undefined);
    if (missing !== undefined) throw new OptionError(option, `'${missing}' is no value of the main graph`);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined) throw new OptionError(option, `'${twice}' is given twice`);
  }
  const cut = new Set(named);
  const makers = graph.nodes.filter((node) => !node.outputs.some((name) => cut.has(name)));
  const lost = graph.nodes
    .filter((node) => !makers.includes(node))
    .flatMap((node) => node.outputs.filter((name) => name !== '' && !cut.has(name)));
  const wanted = outputs.filter((name) => !cut.has(name));
  const nodes = ancestors(makers, wanted);
  const read = new Set([...outputs, ...nodes.flatMap((node) => [...valuesRead(node.proto)])]);
  const dangling = lost.find((name) => read.has(name));
  if (dangling !== undefined)
    throw new OptionError(
      'inputs',
      `cuts off '${dangling}', which the outputs need too; name it as an input`,
    );
  const own = graph.inputs.filter(({ name }) => read.has(name) && !cut.has(name));
  const fed = new Set(fedInputs(graph).map(({ name }) => name));
  const types = await typesOf(model, [...named, ...outputs]);
  const info = (name: string): ValueInfo => {
    const found = types.get(name);
    if (found === undefined)
      throw new ModelError(`the type of '${name}' is not in the file, and onnxruntime does not tell it`, {
        file: model.path,
      });
    return found;
  };
  const proto = graph.proto as GraphProto;
  const part = createModel(
    createMessage('ModelProto', {
      ...model.proto,
      training_info: [],
      graph: createMessage('GraphProto', {
        ...proto,
        node: nodes.map((node) => node.proto),
        input: [...named.map(info), ...own].map((value) => value.proto),
        output: outputs.map((name) => info(name).proto),
        initializer: (proto.initializer ?? []).filter(({ name = '' }) => read.has(name) && !cut.has(name)),
        sparse_initializer: (proto.sparse_initializer ?? []).filter(({ values }) =>
          read.has(values?.name ?? ''),
        ),
        value_info: (proto.value_info ?? []).filter(
          ({ name = '' }) => read.has(name) && !cut.has(name) && !outputs.includes(name),
        ),
        quantization_annotation: (proto.quantization_annotation ?? []).filter(({ tensor_name = '' }) =>
          read.has(tensor_name),
        ),
      }),
    }),
  ).clone();
  const [problem] = check(part).filter(({ severity }) => severity === 'error');
  if (problem !== undefined)
    throw new ModelError(`${problem.message}; ${problem.hint}`, { file: model.path, ...problem.where });
  return {
    model: part,
    nodes: nodes.length,
    alsoNeeded:
      options.inputs === undefined ? [] : own.map(({ name }) => name).filter((name) => fed.has(name)),
    unread: named.filter((name) => !read.has(name)),
  };
}

/** Types and shapes of values: what the file says, else what onnxruntime finds out. */
async function typesOf(model: Model, names: readonly string[]): Promise<Map<string, ValueInfo>> {
  const { graph } = model;
  const found = new Map<string, ValueInfo>();
  for (const value of [...graph.valueInfo, ...graph.inputs, ...graph.outputs])
    if (value.proto.type !== undefined) found.set(value.name, value);
  for (const [name, tensor] of graph.initializers)
    if (!found.has(name)) found.set(name, ValueInfo.tensor(name, tensor.dataType, tensor.shape));
  const open = [...new Set(names)].filter((name) => !found.has(name));
  if (open.length === 0) return found;
  await using session = await openSession(partOf(model, open));
  for (const { name, type, shape } of session.outputs)
    if (type !== undefined) found.set(name, ValueInfo.tensor(name, type, shape));
  return found;
}
