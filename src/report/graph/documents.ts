import type { Inspection } from '../../analysis/check/inspect.js';
import type { ModelComparison, ModelDifference } from '../../analysis/diff/compare-models.js';
import type { Model, Problem } from '../../graph/index.js';
import { attributeText } from '../../graph/print.js';
import { subgraphsOf } from '../../graph/subgraphs.js';
import type { ConvertAccount } from '../../passes/convert/to-half.js';
import type { Extraction } from '../../passes/rewrite/extract.js';
import { type Column, type Document, grid, type Note } from '../text/document.js';
import { counted, formatSignificant } from '../text/text.js';

const PROBLEM_COLUMNS: readonly Column<Problem>[] = [
  { key: 'severity', header: 'severity', value: (row) => row.severity },
  {
    key: 'where',
    header: 'where',
    shrink: 16,
    value: ({ where }) => where.node ?? where.tensor ?? where.graph ?? '',
  },
  { key: 'message', header: 'what', value: (row) => row.message },
  { key: 'hint', header: 'what to do', priority: 1, value: (row) => row.hint },
];

/**
 * What is wrong with a model, in all forms.
 *
 * @example
 * console.log(render(checkDocument('model.onnx', await inspectModel(model))));
 */
export function checkDocument(name: string, inspection: Inspection): Document {
  const { problems, onnxruntime, sound } = inspection;
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  const notes: Note[] = [];
  if (onnxruntime?.problem !== undefined) notes.push({ text: onnxruntime.problem, tone: 'bad' });
  const found = `${counted(errors, 'error')}, ${counted(problems.length - errors, 'warning')}`;
  const runs =
    onnxruntime === undefined
      ? 'onnxruntime was not asked'
      : onnxruntime.loads
        ? 'onnxruntime loads it'
        : /(^|: )onnxruntime: /.test(onnxruntime.problem ?? '')
          ? 'onnxruntime refuses it'
          : 'onnxruntime was not given it';
  notes.push({ text: `${name}: ${found}; ${runs}`, tone: sound ? 'good' : 'bad' });
  return {
    kind: 'check',
    title: `${name}: ${sound ? 'sound' : 'not sound'}`,
    data: { model: name, ...inspection },
    grids: [grid(PROBLEM_COLUMNS, problems)],
    notes,
  };
}

interface NodeRow {
  readonly node: string;
  readonly opType: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: readonly string[];
  readonly subgraphs: number;
}

const NODE_COLUMNS: readonly Column<NodeRow>[] = [
  { key: 'node', header: 'node', value: (row) => row.node },
  { key: 'opType', header: 'operator', value: (row) => row.opType },
  { key: 'inputs', header: 'inputs', value: (row) => row.inputs.join(' ') },
  { key: 'outputs', header: 'outputs', value: (row) => row.outputs.join(' ') },
  { key: 'attributes', header: 'attributes', value: (row) => row.attributes.join(', ') },
];

/**
 * The nodes of a model as data, and its text.
 *
 * @example
 * console.log(render(printDocument('model.onnx', model, printModel(model)), { format: 'json' }));
 */
export function printDocument(name: string, model: Model, text: string): Document {
  const { graph } = model;
  const value = (one: (typeof graph.inputs)[number]) => ({
    name: one.name,
    type: one.dataType,
    shape: one.shape,
  });
  const nodes = graph.nodes.map(
    (node): NodeRow => ({
      node: node.label,
      opType: node.domain === '' ? node.opType : `${node.domain}.${node.opType}`,
      inputs: node.inputs,
      outputs: node.outputs,
      attributes: (node.proto.attribute ?? []).map((attribute) => attributeText(attribute)),
      subgraphs: subgraphsOf(node.proto).length,
    }),
  );
  return {
    kind: 'print',
    title: name,
    data: {
      model: name,
      irVersion: model.irVersion,
      opsets: (model.proto.opset_import ?? []).map(({ domain = '', version }) => ({
        domain,
        version: Number(version),
      })),
      inputs: graph.inputs.map(value),
      outputs: graph.outputs.map(value),
      initializers: [...graph.initializers.values()].map((tensor) => ({
        name: tensor.name,
        type: tensor.dataType,
        shape: tensor.shape,
      })),
      nodes,
      functions: model.functions.map((body) => body.name),
      text,
    },
    grids: [grid(NODE_COLUMNS, nodes)],
    notes: [],
  };
}

/**
 * What was extracted, in all forms.
 *
 * @example
 * console.log(render(extractDocument('model.onnx', await extract(model, { outputs: ['features'] }), undefined)));
 */
export function extractDocument(
  name: string,
  { model, nodes, alsoNeeded, unread }: Extraction,
  output: string | undefined,
): Document {
  const { graph } = model;
  const rows = [
    ...graph.inputs
      .filter(({ name: own }) => !graph.initializers.has(own))
      .map((value) => ({ role: 'input', value })),
    ...graph.outputs.map((value) => ({ role: 'output', value })),
  ];
  const columns: readonly Column<(typeof rows)[number]>[] = [
    { key: 'role', header: '', value: (row) => row.role },
    { key: 'name', header: 'value', value: (row) => row.value.name },
    { key: 'type', header: 'type', value: (row) => row.value.toString() },
  ];
  const notes: Note[] = [];
  if (alsoNeeded.length > 0)
    notes.push({ text: `also needed, and an input: ${alsoNeeded.join(', ')}`, tone: 'warning' });
  if (unread.length > 0) notes.push({ text: `no output depends on ${unread.join(', ')}`, tone: 'warning' });
  const to = output === undefined ? '' : `; written to ${output}`;
  notes.push({ text: `${counted(nodes, 'node')} of ${name}${to}` });
  return {
    kind: 'extract',
    title: `a part of ${name}`,
    data: {
      model: name,
      output,
      nodes,
      inputs: graph.inputs.map(({ name: own, dataType, shape }) => ({ name: own, type: dataType, shape })),
      outputs: graph.outputs.map(({ name: own, dataType, shape }) => ({ name: own, type: dataType, shape })),
      alsoNeeded,
      unread,
    },
    grids: [grid(columns, rows)],
    notes,
  };
}

/** What convert did to a model. */
export interface Conversion {
  readonly model: string;
  readonly output: string | undefined;
  readonly floats: ConvertAccount | undefined;
  readonly dims: Readonly<Record<string, number>> | undefined;
  readonly irVersion: number;
  readonly opset: number;
  /** Weights in a file of weights alone, where that was asked for. */
  readonly weights: number | undefined;
}

/**
 * What convert did, in all forms.
 *
 * @param verbose list every node that stayed in float32
 * @example
 * const { model: half, account: floats } = await convertFloats(model, 'float16');
 * const { irVersion } = half;
 * const made = { model: 'a.onnx', output: 'b.onnx', floats, dims: undefined, irVersion, opset: half.opset(), weights: undefined };
 * console.log(render(convertDocument(made, false)));
 */
export function convertDocument(conversion: Conversion, verbose: boolean): Document {
  const { model, output, floats, dims, irVersion, opset, weights } = conversion;
  const skipped = floats?.skipped ?? [];
  const notes: Note[] = [];
  if (floats !== undefined)
    notes.push({
      text: `${counted(floats.nodes, 'node')} and ${counted(floats.weights, 'weight')} in ${floats.type}, ${counted(floats.casts, 'cast')}; ${counted(skipped.length, 'node')} left in float32`,
    });
  for (const { weight, elements } of floats?.vanished ?? [])
    notes.push({
      text: `${weight}: ${counted(elements, 'element')} too small for ${floats?.type}, now 0`,
      tone: 'warning',
    });
  if (floats?.type === 'bfloat16')
    notes.push({
      text: 'onnxruntime has few kernels for bfloat16, on the CPU next to none',
      tone: 'warning',
    });
  if (dims !== undefined)
    notes.push({
      text: `fixed: ${Object.entries(dims)
        .map(([name, size]) => `${name} = ${size}`)
        .join(', ')}`,
    });
  if (weights !== undefined) notes.push({ text: `${counted(weights, 'tensor')} of weights` });
  else notes.push({ text: `IR version ${irVersion}, operator set ${opset}` });
  if (output !== undefined) notes.push({ text: `written to ${output}` });
  const columns: readonly Column<(typeof skipped)[number]>[] = [
    { key: 'node', header: 'left in float32', shrink: 16, value: (row) => row.node },
    { key: 'op', header: 'operator', value: (row) => row.op },
    { key: 'reason', header: 'why', value: (row) => row.reason },
  ];
  const SHOWN = 10;
  const shown = verbose ? skipped : skipped.slice(0, SHOWN);
  if (shown.length < skipped.length)
    notes.unshift({
      text: `and ${skipped.length - shown.length} more; \`verbose\` lists them`,
      tone: 'aside',
    });
  return {
    kind: 'convert',
    title: `${model} converted`,
    data: { ...conversion },
    grids: [grid(columns, shown)],
    notes,
  };
}

const DIFFERENCE_COLUMNS: readonly Column<ModelDifference>[] = [
  {
    key: 'kind',
    header: '',
    value: (row) => row.kind,
    text: (row) => ({ added: '+', removed: '-', changed: '~' })[row.kind],
  },
  { key: 'path', header: 'where', shrink: 24, value: (row) => row.path },
  {
    key: 'before',
    header: 'before',
    shrink: 12,
    value: (row) => row.before,
    text: (row) => row.before ?? '',
  },
  { key: 'after', header: 'after', shrink: 12, value: (row) => row.after, text: (row) => row.after ?? '' },
  {
    key: 'relativeNorm',
    header: '‖b - a‖ / ‖a‖',
    align: 'right',
    definition: 'Frobenius norm of the difference relative to that of the weight in the first model',
    value: (row) => row.relativeNorm,
    text: (row) => (row.relativeNorm === undefined ? '' : formatSignificant(row.relativeNorm)),
  },
];

/**
 * How two models differ, in all forms.
 *
 * @param verbose list every other name
 * @example
 * console.log(render(diffDocument(await compareModels(a, b), { a: 'a.onnx', b: 'b.onnx' }, false)));
 */
export function diffDocument(
  comparison: ModelComparison,
  names: { readonly a: string; readonly b: string },
  verbose: boolean,
): Document {
  const { differences, renamed, within, same } = comparison;
  const notes: Note[] = [];
  const SHOWN = 3;
  if (renamed.length > 0) {
    const shown = (verbose ? renamed : renamed.slice(0, SHOWN)).map(
      ({ before, after, kind }) => `${kind} ${before} is ${after}`,
    );
    const more = renamed.length - shown.length;
    notes.push({
      text: `other names, not counted as differences: ${shown.join('; ')}${more > 0 ? `; and ${more} more` : ''}`,
      tone: 'aside',
    });
  }
  if (within > 0)
    notes.push({ text: `${counted(within, 'weight')} differ within the tolerance`, tone: 'aside' });
  notes.push(
    same
      ? { text: `${names.a} and ${names.b} are the same.`, tone: 'good' }
      : {
          text: `${counted(differences.length, 'difference')} between ${names.a} and ${names.b}.`,
          tone: 'bad',
        },
  );
  return {
    kind: 'diff',
    title: `${names.a} and ${names.b}: ${same ? 'the same' : counted(differences.length, 'difference')}`,
    data: { ...names, ...comparison },
    grids: [grid(DIFFERENCE_COLUMNS, differences)],
    notes,
  };
}
