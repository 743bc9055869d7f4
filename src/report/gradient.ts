import type { ValueInfo } from '../graph/index.js';
import type { Gradient } from '../passes/gradient/index.js';
import type { TrainingInfo } from '../training/training-info.js';
import { type Column, type Document, grid, type Note } from './text/document.js';
import { counted, formatCount } from './text/text.js';

/** Options of gradientDocument and trainingInfoDocument. */
export interface GradientDocumentOptions {
  /** What the result was written to; undefined for a dry run. */
  readonly output?: string | undefined;
  /** What the loss is called. */
  readonly loss: string;
}

interface Row {
  readonly weight: string;
  readonly shape: readonly number[];
  readonly role: 'weight' | 'input' | 'running statistic';
  readonly result: string;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const shapeText = (shape: readonly unknown[]): string => `[${shape.join(', ')}]`;

const COLUMNS: readonly Column<Row>[] = [
  { key: 'weight', header: 'by', shrink: 16, value: (row) => row.weight },
  { key: 'role', header: 'role', priority: 2, value: (row) => row.role },
  {
    key: 'shape',
    header: 'shape',
    priority: 1,
    value: (row) => row.shape.join(' '),
    text: (row) => shapeText(row.shape),
  },
  { key: 'elements', header: 'elements', align: 'right', priority: 3, value: (row) => sizeOf(row.shape) },
  {
    key: 'output',
    header: 'output',
    shrink: 16,
    definition: 'gradient of the loss; of a running statistic, its new value',
    value: (row) => row.result,
  },
];

/**
 * What a gradient's graph takes and gives, in all forms.
 *
 * @example
 * const made = await gradient(model, { loss: 'mse', batch: 8 });
 * console.log(render(gradientDocument(made, { loss: 'mse' })));
 */
export function gradientDocument(made: Gradient, options: GradientDocumentOptions): Document {
  const { graph } = made.model;
  const shapes = new Map(graph.outputs.map((value) => [value.name, (value.shape ?? []).map(Number)]));
  const row =
    (role: Row['role']) =>
    ([weight, result]: readonly [string, string]): Row => ({
      weight,
      shape: shapes.get(result) ?? [],
      role,
      result,
    });
  const isInput = (name: string): boolean => graph.isInput(name) && !made.weights.has(name);
  const rows = [
    ...[...made.gradients].map((pair) => row(isInput(pair[0]) ? 'input' : 'weight')(pair)),
    ...[...made.state].map(row('running statistic')),
  ];
  const fed = graph.inputs.filter(({ name }) => !made.weights.has(name));
  const elements = rows.reduce((sum, { shape, role }) => sum + (role === 'weight' ? sizeOf(shape) : 0), 0);
  const held =
    made.weights.size === 0
      ? 'The weights stand in it as constants.'
      : `The weights${made.state.size > 0 ? ' and running statistics' : ''} are inputs by their names (${formatCount(made.weights.size)}), to be fed step by step.`;
  return {
    kind: 'gradient',
    title: 'Gradients',
    data: {
      output: options.output ?? null,
      loss: { kind: options.loss, output: made.loss },
      prediction: made.prediction,
      target: made.target ?? null,
      inputs: graph.inputs.map(described),
      gradients: rows.map(({ weight, role, shape, result }) => ({
        name: weight,
        role,
        shape,
        output: result,
      })),
      weightsAre: made.weights.size === 0 ? 'constants' : 'inputs',
      unreached: made.unreached,
      nodes: graph.nodes.length,
    },
    grids: [grid(COLUMNS, rows)],
    notes: [
      ...unreachedNotes(made.unreached),
      { text: `Takes ${fed.map((value) => inputText(value, made.target)).join(', ')}.` },
      { text: held },
      {
        text: `Gives the loss '${made.loss}' (${options.loss}), the prediction '${made.prediction}' and ${counted(rows.length, 'tensor')} as above.`,
      },
      {
        text: `${counted(graph.nodes.length, 'node')} compute the gradient of the loss by ${counted(elements, 'parameter')}.`,
      },
      writtenNote(options.output),
    ],
  };
}

interface UpdatedRow {
  readonly name: string;
  readonly role: string;
  readonly shape: readonly number[];
}

const UPDATED_COLUMNS: readonly Column<UpdatedRow>[] = [
  { key: 'name', header: 'updated', shrink: 16, value: (row) => row.name },
  { key: 'role', header: 'where', priority: 1, value: (row) => row.role },
  {
    key: 'shape',
    header: 'shape',
    value: (row) => row.shape.join(' '),
    text: (row) => shapeText(row.shape),
  },
];

/**
 * What a training algorithm in a model updates, in all forms.
 *
 * @example
 * const made = await withTrainingInfo(model, {
 *   loss: 'mse', batch: 8, optimizer: optimizer('sgd'), learningRate: 0.1,
 * });
 * console.log(render(trainingInfoDocument(made, { loss: 'mse', optimizer: 'sgd' })));
 */
export function trainingInfoDocument(
  { model, account }: TrainingInfo,
  options: GradientDocumentOptions & { readonly optimizer: string },
): Document {
  const algorithm = model.trainingGraphs.at(-1);
  const shapeOf = (name: string): readonly number[] =>
    (model.graph.initializers.get(name) ?? algorithm?.initializers.get(name))?.shape ?? [];
  const rows = [
    ...account.updated.map((name) => ({ name, role: 'model', shape: shapeOf(name) })),
    ...account.state.map((name) => ({ name, role: 'algorithm', shape: shapeOf(name) })),
  ];
  const raised =
    account.raisedFrom === undefined
      ? []
      : [
          {
            text: `The model was raised from operator set ${account.raisedFrom} to ${model.opset()}.`,
            tone: 'warning' as const,
          },
        ];
  return {
    kind: 'training-info',
    title: 'Training algorithm',
    data: {
      output: options.output ?? null,
      optimizer: options.optimizer,
      ...account,
      loss: { kind: options.loss, output: account.loss },
    },
    grids: [grid(UPDATED_COLUMNS, rows)],
    notes: [
      ...unreachedNotes(account.unreached),
      ...raised,
      {
        text: `The algorithm (${options.loss}, ${options.optimizer}) has ${counted(account.nodes, 'node')} and takes over what ${counted(account.shared, 'node')} of the model compute.`,
      },
      {
        text: `It takes the model's inputs${account.target === undefined ? '' : ` and '${account.target}'`}; the learning rate is the initializer '${account.learningRate}'.`,
      },
      { text: 'Sizes are baked in: feed the batch that it was made for.', tone: 'aside' },
      writtenNote(options.output),
    ],
  };
}

function described({ name, dataType, shape }: ValueInfo) {
  return { name, type: dataType, shape };
}

function inputText({ name, dataType, shape }: ValueInfo, target: string | undefined): string {
  return `${name === target ? 'the target ' : ''}'${name}' ${String(dataType)} ${shapeText(shape ?? [])}`;
}

function unreachedNotes(unreached: readonly string[]): Note[] {
  if (unreached.length === 0) return [];
  const named = unreached.slice(0, 3).map((name) => `'${name}'`);
  const more = unreached.length > 3 ? ` and ${unreached.length - 3} more` : '';
  return [{ text: `The loss does not depend on ${named.join(', ')}${more}.`, tone: 'warning' }];
}

function writtenNote(output: string | undefined): Note {
  if (output === undefined) return { text: 'Dry run: nothing was written.', tone: 'aside' };
  return { text: `Written to ${output === '-' ? 'standard output' : output}.`, tone: 'good' };
}
