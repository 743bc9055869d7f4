import { inlinedFunctions } from '../../graph/edit/inline-functions.js';
import {
  check,
  createModel,
  type Graph,
  type GraphProto,
  keepsMeaning,
  type Model,
  ModelError,
  type NodeProto,
  subgraphsOf,
} from '../../graph/index.js';
import { LAST_OPSET } from '../../graph/operators/versions.js';
import { opsetOf } from '../../graph/opsets.js';
import { OptionError } from '../../graph/option-descriptors.js';
import { createMessage, fromBigInt, toBigInt } from '../../graph/proto/codec.js';
import { inputSizes, isOpen } from '../../runtime/index.js';
import { settledInputs } from '../gradient/prepare/infer-shapes.js';
import { OPSET, upgraded } from '../gradient/prepare/upgrade.js';

/** Operators whose form changed in an operator set beyond those that upgraded writes. */
const CHANGED_LATER: Readonly<Record<string, number>> = { Scan: 9, DFT: 20, GroupNormalization: 21 };
const SOFT = ['Softmax', 'LogSoftmax', 'Hardmax'] as const;
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
    throw new OptionError(
      'opset',
      `must be at least ${importedOpset(model)}, that of the model, is ${opset}`,
    );
  if (model.functions.some((body) => changesWithin(body, opset))) {
    // onnxruntime reads the body of a function in the operator set of the model.
    return await raiseOpset(inlinedFunctions(model), opset);
  }
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
    nodes = await upgraded(model, settledInputs(model, { dims }), { keepsTraining: true });
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
      functions: (nodes.proto.functions ?? []).map((body) =>
        createMessage('FunctionProto', {
          ...body,
          opset_import: (body.opset_import ?? []).map((own) =>
            isStandard(own.domain)
              ? createMessage('OperatorSetIdProto', { ...own, version: fromBigInt(opset) })
              : own,
          ),
        }),
      ),
      graph: createMessage('GraphProto', {
        ...graph,
        input: old.input ?? [],
        value_info: old.value_info ?? [],
      }),
    }),
  ).clone();
  if (from < 20 && opset >= 20) renameGridModes(raised);
  const [problem] = check(raised).filter(({ severity }) => severity === 'error');
  if (problem !== undefined)
    throw new ModelError(`${problem.message}; ${problem.hint}`, { file: model.path, ...problem.where });
  return raised;
}

/** The operator set that a model imports, to its last bit. */
function importedOpset(model: Model): bigint {
  const found = (model.proto.opset_import ?? []).find(({ domain }) => isStandard(domain));
  return toBigInt(found?.version);
}

function isStandard(domain: string | undefined): boolean {
  return !domain || domain === 'ai.onnx';
}

/** Whether a newer operator set writes a node of a function, or of a graph within, otherwise. */
function changesWithin(body: Graph, opset: number): boolean {
  const from = opsetOf(body);
  const changes = (nodes: readonly NodeProto[]): boolean =>
    nodes.some(
      (node) =>
        (isStandard(node.domain) && !keepsMeaning(node.op_type ?? '', from, opset)) ||
        subgraphsOf(node).some(({ node: inner = [] }) => changes(inner)),
    );
  return changes(body.nodes.map(({ proto }) => proto));
}

/** Operator set 20 calls the modes of GridSample otherwise. */
function renameGridModes(model: Model): void {
  const names: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' };
  for (const node of model.nodes()) {
    if (!node.is('GridSample')) continue;
    const mode = node.proto.attribute?.find(({ name }) => name === 'mode');
    const renamed = names[node.attributes.string('mode', '')];
    if (mode !== undefined && renamed !== undefined) mode.s = Buffer.from(renamed);
  }
}

/** A Softmax that became Flatten, Softmax and Reshape to sizes that hold for one shape. */
function bakedSoftmax(before: Model, after: Model): string | undefined {
  const kept = new Set(after.graph.nodes.filter((node) => node.is(...SOFT)).flatMap((node) => node.outputs));
  return before.graph.nodes.find((node) => node.is(...SOFT) && !node.outputs.some((name) => kept.has(name)))
    ?.label;
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
