import type { LoraFactors } from '../passes/lora/adapter-file.js';
import type { AdaptedLayer, AddAdaptersAccount } from '../passes/lora/add-adapters.js';
import type { ExtractedLora, LoraExtraction } from '../passes/lora/extract-lora.js';
import type { ReadAdapters } from '../passes/lora/read-adapter.js';
import { leftNotes } from './skipped.js';
import { type Column, type Document, grid } from './text/document.js';
import { counted, formatCount, formatNumber } from './text/text.js';

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

const LAYER_COLUMNS: readonly Column<AdaptedLayer>[] = [
  { key: 'node', header: 'node', shrink: 16, value: ({ node }) => node },
  { key: 'op', header: 'op', priority: 2, value: ({ op }) => op },
  { key: 'module', header: 'module', shrink: 16, priority: 3, value: ({ module }) => module },
  { key: 'weight', header: 'weight', only: 'data', value: ({ weight }) => weight },
  { key: 'outputs', header: 'outputs', only: 'data', value: ({ outputs }) => outputs },
  { key: 'inputs', header: 'inputs', only: 'data', value: ({ inputs }) => inputs },
  {
    key: 'matrix',
    header: 'out × in',
    align: 'right',
    only: 'text',
    value: ({ outputs, inputs }) => `${outputs} × ${inputs}`,
  },
  { key: 'rank', header: 'rank', align: 'right', value: ({ rank }) => rank },
  {
    key: 'scale',
    header: 'scale',
    align: 'right',
    definition: 'what the product of the factors is multiplied by',
    value: ({ scale }) => scale,
    text: ({ scale }) => formatNumber(scale, 'significant3'),
  },
  { key: 'init', header: 'init', only: 'data', value: ({ init }) => init },
  { key: 'parameters', header: 'params', align: 'right', value: ({ parameters }) => parameters },
  { key: 'trained', header: 'trained', align: 'right', value: ({ trained }) => trained },
];

/** What addAdapters did, in all forms. */
export function adaptersDocument(
  { rewritten, skipped, unapplied, unmatched, inlined }: AddAdaptersAccount,
  options: { readonly output: string | undefined; readonly verbose: boolean },
): Document {
  const sum = (key: 'parameters' | 'trained'): number =>
    rewritten.reduce((total, row) => total + row[key], 0);
  const [all, trained] = [sum('parameters'), sum('trained')];
  const isPissa = rewritten.some(({ init }) => init === 'pissa');
  const verb = options.output === undefined ? 'would get' : 'got';
  return {
    kind: 'add-adapters',
    title: 'Layers with adapters',
    data: { output: options.output ?? null, layers: rewritten, skipped, unapplied, unmatched, inlined },
    grids: [grid(LAYER_COLUMNS, rewritten)],
    notes: [
      {
        text: `${counted(rewritten.length, 'layer')} ${verb} adapters: train then trains ${formatCount(trained)} parameters beside ${formatCount(all)}, which stay as they are.`,
      },
      ...(isPissa
        ? [
            {
              text: "Each adapter holds leading directions of its layer's weight, which is W - scale * B A now.",
            },
          ]
        : []),
      ...unapplied.map(({ module, reason }) => ({
        text: `not applied: ${module}: ${reason}`,
        tone: 'warning' as const,
      })),
      ...leftNotes(skipped, { verb: 'skipped', each: options.verbose }),
    ],
  };
}

const OWN_COLUMNS: readonly Column<LoraFactors>[] = [
  { key: 'module', header: 'module', value: ({ module }) => module },
  {
    key: 'matrix',
    header: 'out × in',
    align: 'right',
    value: ({ a, b }) => `${b.rows}x${a.columns}`,
    text: ({ a, b }) => `${b.rows} × ${a.columns}`,
  },
  { key: 'rank', header: 'rank', align: 'right', value: ({ a }) => a.rows },
  {
    key: 'scale',
    header: 'scale',
    align: 'right',
    value: ({ scale }) => scale,
    text: ({ scale }) => formatNumber(scale, 'significant3'),
  },
];

/** The adapters that a model holds, in all forms. */
export function ownAdaptersDocument(
  { adapters, skipped }: ReadAdapters,
  options: {
    readonly model: string | undefined;
    readonly output: string | undefined;
    readonly verbose: boolean;
  },
): Document {
  const parameters = adapters.reduce((sum, { a, b }) => sum + a.data.length + b.data.length, 0);
  return {
    kind: 'extract-lora',
    title: `Adapters of ${options.model ?? 'a model'}`,
    data: {
      model: options.model ?? null,
      output: options.output ?? null,
      parameters,
      adapters: adapters.map(({ module, a, b, scale }) => ({
        module,
        rank: a.rows,
        outputs: b.rows,
        inputs: a.columns,
        scale,
      })),
      skipped,
    },
    grids: [grid(OWN_COLUMNS, adapters)],
    notes: [
      { text: `${adapters.length} adapters of ${formatNumber(parameters, 'count')} parameters` },
      ...leftNotes(skipped, { verb: 'skipped', each: options.verbose }),
    ],
  };
}
