import type { ExtractedLora, LoraExtraction } from '../passes/lora/extract-lora.js';
import { leftNotes } from './skipped.js';
import { type Column, type Document, grid } from './text/document.js';
import { formatNumber } from './text/text.js';

const COLUMNS: readonly Column<ExtractedLora>[] = [
  { key: 'weight', header: 'weight', shrink: 20, value: ({ weight }) => weight },
  {
    key: 'matrix',
    header: 'out × in',
    align: 'right',
    value: ({ a, b }) => `${b.rows}x${a.columns}`,
    text: ({ a, b }) => `${b.rows} × ${a.columns}`,
  },
  { key: 'rank', header: 'rank', align: 'right', value: ({ rank }) => rank },
  {
    key: 'relativeChange',
    header: '‖Δ‖/‖W0‖',
    align: 'right',
    definition: 'Frobenius norm of W1 - W0 over that of W0',
    value: ({ relativeChange }) => relativeChange,
    text: ({ relativeChange }) => formatNumber(relativeChange, 'percent'),
  },
  {
    key: 'error',
    header: 'error',
    align: 'right',
    definition: '‖W1 - W0 - B A‖F / ‖W1 - W0‖F of the factors as they are written',
    value: ({ error }) => error,
    text: ({ error }) => formatNumber(error, 'significant3'),
  },
];

/** What extractLora found, in all forms. */
export function loraDocument(
  { base, tuned, adapters, skipped, fanInFanOut }: LoraExtraction,
  options: { readonly output: string | undefined; readonly verbose: boolean },
): Document {
  const parameters = adapters.reduce((sum, { a, b }) => sum + a.data.length + b.data.length, 0);
  return {
    kind: 'extract-lora',
    title: `Adapters that turn ${base ?? 'a'} into ${tuned ?? 'b'}`,
    data: {
      base: base ?? null,
      tuned: tuned ?? null,
      output: options.output ?? null,
      fanInFanOut,
      parameters,
      adapters: adapters.map(({ weight, module, rank, error, relativeChange, a, b }) => ({
        weight,
        module,
        rank,
        outputs: b.rows,
        inputs: a.columns,
        relativeChange,
        error,
      })),
      skipped,
    },
    grids: [grid(COLUMNS, adapters)],
    notes: [
      { text: `${adapters.length} adapters of ${formatNumber(parameters, 'count')} parameters` },
      ...leftNotes(skipped, { verb: 'skipped', each: options.verbose }),
    ],
  };
}
