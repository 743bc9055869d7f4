import type { Corrected, InferAccount, Untold } from '../../passes/rewrite/infer.js';
import { type Column, type Document, grid, type Note } from '../text/document.js';
import { counted } from '../text/text.js';

const CORRECTED: readonly Column<Corrected>[] = [
  { key: 'value', header: 'value', shrink: 16, value: (row) => row.value },
  { key: 'noted', header: 'in the file', value: (row) => row.noted },
  { key: 'made', header: 'as the nodes make it', value: (row) => row.made },
];

const UNTOLD: readonly Column<Untold>[] = [
  { key: 'value', header: 'value', shrink: 16, value: (row) => row.value },
  { key: 'op', header: 'operator', value: (row) => row.op },
  { key: 'node', header: 'node', shrink: 12, priority: 1, value: (row) => row.node },
  { key: 'lacks', header: 'not told', value: (row) => row.lacks },
];

/**
 * What infer found, in all forms.
 *
 * @param isWhole lists the values that no rule tells, too
 * @example
 * const [account] = await model.apply(infer());
 * console.log(render(inferDocument('model.onnx', account, undefined, true)));
 */
export function inferDocument(
  name: string,
  account: InferAccount,
  output: string | undefined,
  isWhole = false,
): Document {
  const { values, complete, added, corrected, conflicts, untold } = account;
  const notes: Note[] = conflicts.map(({ value, noted, made }) => ({
    text: `output '${value}' is ${noted} in the file, but its node makes ${made}; it stays as it is`,
    tone: 'warning',
  }));
  if (untold.length > 0) {
    const more = isWhole ? '' : '; `verbose: true` lists them';
    notes.push({ text: `no rule tells all of ${counted(untold.length, 'value')}${more}`, tone: 'aside' });
  }
  const to = output === undefined ? '' : `; written to ${output}`;
  notes.push({
    text: `${name}: type and shape of ${complete} of ${counted(values, 'value')}, ${added} new, ${corrected.length} corrected${to}`,
  });
  return {
    kind: 'infer',
    title: `types and shapes of ${name}`,
    data: { model: name, output: output ?? null, ...account },
    grids: [
      ...(corrected.length > 0 ? [grid(CORRECTED, corrected)] : []),
      ...(isWhole && untold.length > 0 ? [grid(UNTOLD, untold)] : []),
    ],
    notes,
  };
}
