import type { Model, Tensor } from '../graph/index.js';
import { writtenNotes } from './passes.js';
import { type Column, type Document, grid } from './text/document.js';
import { counted, formatCount } from './text/text.js';

const COLUMNS: readonly Column<Tensor>[] = [
  { key: 'name', header: 'weight', value: (tensor) => tensor.name },
  { key: 'shape', header: 'shape', value: (tensor) => tensor.shape.join(' × ') },
  { key: 'elements', header: 'elements', align: 'right', value: (tensor) => tensor.size },
];

/** The weights of a new network. */
export function networkDocument(
  model: Model,
  { output }: { readonly output?: string | undefined } = {},
): Document {
  const weights = [...model.graph.initializers.values()];
  const parameters = weights.reduce((sum, { size }) => sum + size, 0);
  return {
    kind: 'new',
    title: 'Weights of a new network',
    data: {
      output: output ?? null,
      parameters,
      weights: weights.map(({ name, shape }) => ({ name, shape })),
    },
    grids: [grid(COLUMNS, weights, { total: { name: 'all', elements: formatCount(parameters) } })],
    notes: [{ text: `${counted(parameters, 'parameter')}.` }, ...writtenNotes(output)],
  };
}
