import { check, createModel, type GraphProto, type Model, ModelError } from '../../graph/index.js';
import { LAST_OPSET } from '../../graph/operators/versions.js';
import { OptionError } from '../../graph/option-descriptors.js';
import { createMessage, fromBigInt } from '../../graph/proto/codec.js';
import { inputSizes, isOpen } from '../../runtime/index.js';
import { settledInputs } from '../gradient/prepare/infer-shapes.js';
import { OPSET, upgraded } from '../gradient/prepare/upgrade.js';

/** Operators whose form changed in an operator set beyond those that upgraded writes. */
const CHANGED_LATER: Readonly<Record<string, number>> = { DFT: 20, GridSample: 20, GroupNormalization: 21 };
/** The newest IR version that this ONNX knows. */
export const NEWEST_IR = 13;

/**
 * The model in a newer operator set of the standard. The given model stays as it is.
 *
 * @param opset from 18 on, and no less than that of the model
 * @throws OptionError for an operator set out of range; ModelError for operators whose newer form is not known, and a Softmax over
 *   several axes (before operator set 13) of a model with open dimensions
 * @example
 * const newer = await raiseOpset(model, 21);
 */
export async function raiseOpset(model: Model, opset: number): Promise<Model> {
  const from = model.opset();
  if (!Number.isInteger(opset) || opset < OPSET || opset > LAST_OPSET)
    throw new OptionError('opset', `must be an integer from ${OPSET} to ${LAST_OPSET}, is ${opset}`);
  if (opset < from)
    throw new OptionError('opset', `must be at least ${from}, that of the model, is ${opset}`);
  const late = [...model.nodes()].find((node) => {
    const version = node.domain === '' ? CHANGED_LATER[node.opType] : undefined;
    return version !== undefined && from < version && opset >= version;
  });
  if (late !== undefined)
    throw new ModelError(
      `${late.opType} changed its form in operator set ${CHANGED_LATER[late.opType]}, and how it would be written there is not known here`,
      { file: model.path, node: late.label },
    );
  const old = model.graph.proto as GraphProto;
  let nodes = model;
  if (from < OPSET) {
    const { sizes } = inputSizes(model, {});
    const hasOpen = [...sizes.keys()].some(({ shape }) => shape?.some(isOpen));
    // No size of 1 by chance: what is only true of those must not be baked in.
    const dims = Object.fromEntries(
      [...sizes].flatMap(([input, own = []]) =>
        (input.shape ?? []).flatMap((dim, axis) =>
          own[axis] === undefined
            ? [[typeof dim === 'string' ? dim : `${input.name}[${axis}]`, 2] as const]
            : [],
        ),
      ),
    );
    nodes = await upgraded(model, settledInputs(model, { dims }));
    const flat = hasOpen && from < 13 ? bakedSoftmax(model, nodes) : undefined;
    if (flat !== undefined)
      throw new ModelError(
        'a Softmax over several axes has no form in newer operator sets while dimensions are open; fix them by `dims`',
        { file: model.path, node: flat },
      );
  }
  const graph = nodes.graph.proto as GraphProto;
  const imports = (nodes.proto.opset_import ?? []).filter(({ domain }) => domain && domain !== 'ai.onnx');
  const raised = createModel(
    createMessage('ModelProto', {
      ...nodes.proto,
      opset_import: [
        createMessage('OperatorSetIdProto', { domain: '', version: fromBigInt(opset) }),
        ...imports,
      ],
      graph: createMessage('GraphProto', {
        ...graph,
        input: old.input ?? [],
        value_info: old.value_info ?? [],
      }),
    }),
  ).clone();
  const [problem] = check(raised).filter(({ severity }) => severity === 'error');
  if (problem !== undefined)
    throw new ModelError(`${problem.message}; ${problem.hint}`, { file: model.path, ...problem.where });
  return raised;
}

/** A Softmax that became Flatten, Softmax and Reshape to sizes that hold for one shape. */
function bakedSoftmax(before: Model, after: Model): string | undefined {
  const kept = new Set(
    after.graph.nodes.filter((node) => node.is('Softmax', 'LogSoftmax')).flatMap((node) => node.outputs),
  );
  return before.graph.nodes.find(
    (node) => node.is('Softmax', 'LogSoftmax') && !node.outputs.some((name) => kept.has(name)),
  )?.label;
}

/**
 * The model with a newer IR version. The given model stays as it is.
 *
 * @throws OptionError for a version below the model's, or that is not known
 * @example
 * const newer = raiseIr(model, 10);
 */
export function raiseIr(model: Model, version: number): Model {
  if (!Number.isInteger(version) || version < model.irVersion || version > NEWEST_IR)
    throw new OptionError(
      'ir',
      `must be an integer from ${model.irVersion}, that of the model, to ${NEWEST_IR}, is ${version}`,
    );
  return createModel(
    createMessage('ModelProto', { ...model.proto, ir_version: fromBigInt(version) }),
  ).clone();
}
