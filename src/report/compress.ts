import type { CompressAccount, CompressedLayer } from '../compress/account.js';
import type { Estimate, QualityReport } from '../evaluate/types.js';
import type { ConvertAccount } from '../passes/convert/to-half.js';
import { writtenNotes } from './passes.js';
import { leftNotes } from './skipped.js';
import { type Column, type Document, grid, type Note } from './text/document.js';
import { counted, formatCount } from './text/text.js';

/** What a document of compress says besides its account. */
export interface CompressDocumentOptions {
  /** What the result was written to; undefined for a dry run. */
  readonly output?: string | undefined;
  readonly verbose?: boolean;
  /** How the result was converted to another type. */
  readonly floats?: ConvertAccount | undefined;
  /** Original and result on data, in this order, and which data that is. */
  readonly quality?: { readonly report: QualityReport; readonly part: string } | undefined;
}

const percent = (share: number): string => `${(100 * share).toPrecision(3)}%`;
const times = (before: number, after: number): string =>
  before === 0 ? '–' : `×${(after / before).toPrecision(3)}`;

const FORM_NAMES: Readonly<Record<CompressedLayer['form'], string>> = {
  keep: 'as it is',
  matrices: 'two matrices',
  channel: 'channel',
  spatial: 'spatial',
  tucker: 'Tucker-2',
  bits: 'few bits',
};

const COLUMNS: readonly Column<CompressedLayer>[] = [
  { key: 'layer', header: 'layer', shrink: 16, value: (row) => row.layer },
  { key: 'op', header: 'op', priority: 4, value: (row) => row.op },
  { key: 'nodes', header: 'nodes', only: 'data', value: (row) => row.nodes.join(' ') },
  { key: 'rows', header: 'rows', only: 'data', value: (row) => row.rows },
  { key: 'columns', header: 'columns', only: 'data', value: (row) => row.columns },
  {
    key: 'form',
    header: 'became',
    definition:
      'two matrices; channel: the kernel with R channels, then 1 x 1; spatial: kh x 1, then 1 x kw; Tucker-2: 1 x 1, the kernel, 1 x 1',
    value: (row) => row.form,
    text: (row) => FORM_NAMES[row.form],
  },
  {
    key: 'rankBefore',
    header: 'full rank',
    align: 'right',
    priority: 2,
    value: (row) => row.rankBefore,
  },
  {
    key: 'ranks',
    header: 'rank',
    align: 'right',
    definition: 'channels between the factors',
    value: (row) => row.ranks.join(' '),
    text: (row) => (row.form === 'keep' ? '' : row.ranks.join(', ')),
  },
  {
    key: 'predicted',
    header: 'predicted',
    align: 'right',
    definition: 'what this cut alone adds to the divergence from the original; without data ½ ‖ΔW‖² / ‖W‖²',
    value: (row) => row.predicted,
    text: (row) => (row.form === 'keep' ? '' : row.predicted.toExponential(1)),
  },
  {
    key: 'parametersBefore',
    header: 'params before',
    align: 'right',
    definition: 'elements of the weight, and of the bias where one was added',
    value: (row) => row.parametersBefore,
  },
  { key: 'parametersAfter', header: 'after', align: 'right', value: (row) => row.parametersAfter },
  {
    key: 'multiplyAddsBefore',
    header: 'multiply-adds before',
    align: 'right',
    priority: 3,
    definition: 'of one sample',
    value: (row) => row.multiplyAddsBefore,
  },
  {
    key: 'multiplyAddsAfter',
    header: 'after',
    align: 'right',
    priority: 3,
    value: (row) => row.multiplyAddsAfter,
  },
  {
    key: 'microsecondsBefore',
    header: 'µs before',
    align: 'right',
    definition: 'time of the nodes in onnxruntime on this machine, of one sample, without what a call takes',
    value: (row) => row.microsecondsBefore,
    text: (row) => row.microsecondsBefore?.toPrecision(3) ?? '',
  },
  {
    key: 'microsecondsAfter',
    header: 'after',
    align: 'right',
    value: (row) => row.microsecondsAfter,
    text: (row) => row.microsecondsAfter?.toPrecision(3) ?? '',
  },
];

/** Without those that nothing is in. */
function columnsOf(layers: readonly CompressedLayer[]): readonly Column<CompressedLayer>[] {
  const isTimed = layers.some(({ microsecondsBefore }) => microsecondsBefore !== undefined);
  return COLUMNS.filter(({ key }) => isTimed || !key.startsWith('microseconds'));
}

/**
 * What compress did, in all forms.
 *
 * @example
 * const [account] = await model.apply(compress({ params: 0.5 }));
 * console.log(render(compressDocument(account), { format: 'md' }));
 */
export function compressDocument(account: CompressAccount, options: CompressDocumentOptions = {}): Document {
  const { layers, skipped, total, curve, plan, notes } = account;
  const { output, verbose = false, quality, floats } = options;
  const cut = layers.filter(({ form }) => form !== 'keep');
  const { spectrum: _, ...rest } = { ...account, spectrum: undefined };
  return {
    kind: 'compress',
    title: 'Compressed layers',
    data: {
      output: output ?? null,
      ...rest,
      layers: layers.map((row) => ({ ...row, spectrum: Array.from(row.spectrum) })),
      quality: quality ?? null,
    },
    grids: [grid(columnsOf(layers), layers)],
    notes: [
      ...leftNotes(skipped, { verb: 'skipped', each: verbose }),
      ...leftNotes(
        layers.flatMap(({ layer, op, reason }) =>
          reason === undefined ? [] : [{ node: layer, op, reason }],
        ),
        { verb: 'left as it is', each: verbose },
      ),
      ...conditionNotes(layers),
      ...notes.map((text): Note => ({ text: `${text[0]?.toUpperCase()}${text.slice(1)}.`, tone: 'warning' })),
      ...(output === undefined && curve.length > 0
        ? [
            {
              text: `Trade-off (params kept: predicted): ${curve.map((point) => `${percent(point.params)}: ${point.predicted.toExponential(1)}`).join(', ')}.`,
            },
          ]
        : []),
      ...divergenceNotes(account),
      {
        text: `${counted(cut.length, 'layer')} of ${layers.length} ${output === undefined ? 'would be' : cut.length === 1 ? 'is' : 'are'} factorized; the file's parameters shrink from ${formatCount(total.parametersBefore)} to ${formatCount(total.parametersAfter)} (${times(total.parametersBefore, total.parametersAfter)}), multiply-adds ${times(total.multiplyAddsBefore, total.multiplyAddsAfter)}, bytes ${times(total.bytesBefore, total.bytesAfter)}${total.latency === undefined ? '' : `, time in onnxruntime ×${total.latency.toPrecision(3)}`}.`,
      },
      ...(floats === undefined ? [] : typeNotes(floats, verbose)),
      ...(quality === undefined ? [] : qualityNotes(quality)),
      ...(plan.length > 0 && output === undefined && cut.length === 0
        ? [{ text: 'No budget was given: every layer stays.', tone: 'aside' as const }]
        : []),
      ...writtenNotes(output),
    ],
  };
}

function divergenceNotes({ divergence, predicted, measured, samples }: CompressAccount): Note[] {
  if (divergence === undefined) {
    const text =
      'Without data the spectra of the weights alone decided, and every layer counts alike: with data much less is lost.';
    return [{ text, tone: 'warning' }];
  }
  const what =
    divergence === 'cross-entropy'
      ? 'Kullback-Leibler divergence from the original, in nats'
      : 'mean square of the difference from the original';
  const told = measured === undefined ? 'not measured yet' : `measured ${measured.toPrecision(3)}`;
  return [
    { text: `${what}: predicted ${predicted.toPrecision(3)}, ${told} (${counted(samples, 'sample')}).` },
  ];
}

function typeNotes({ type, weights, skipped, vanished }: ConvertAccount, verbose: boolean): Note[] {
  const lost = vanished.reduce((sum, { elements }) => sum + elements, 0);
  return [
    {
      text: `Written in ${type}: ${counted(weights, 'weight')}; inputs and outputs keep their types.${lost > 0 ? ` ${formatCount(lost)} elements are rounded to 0.` : ''}`,
    },
    ...leftNotes(skipped, { verb: 'stays in float32', each: verbose }),
  ];
}

/** A difference of shares is in points. */
function pointsOf(
  isShare: boolean,
  change: Estimate,
  value: (isShare: boolean, estimate: Estimate) => string,
): string {
  const text = value(isShare, change);
  return isShare ? `${text.replaceAll('%', '')} points` : text;
}

/** Before, after and the paired difference of each figure. */
function qualityNotes({ report, part }: NonNullable<CompressDocumentOptions['quality']>): Note[] {
  const [before, after] = report.models;
  const [comparison] = report.comparisons;
  if (before === undefined || after === undefined || comparison === undefined) return [];
  const value = (share: boolean, { value: number, interval }: Estimate): string => {
    const text = (one: number): string => (share ? percent(one) : one.toPrecision(3));
    return `${text(number)}${interval === undefined ? '' : ` [${text(interval.low)}, ${text(interval.high)}]`}`;
  };
  const figures = (['accuracy', 'loss', 'r2'] as const).flatMap((key) => {
    const [was, is, change] = [before.figures[key], after.figures[key], comparison.differences[key]];
    if (was === undefined || is === undefined || change === undefined) return [];
    const isShare = key === 'accuracy';
    return `${key} ${value(isShare, was)} before, ${value(isShare, is)} after, difference ${pointsOf(isShare, change, value)}`;
  });
  const { equalDecisions: equal } = comparison.agreement;
  if (equal !== undefined) figures.push(`equal decisions ${value(true, equal)}`);
  return [
    { text: `On ${part} (${counted(report.samples, 'sample')}, 95% intervals):` },
    ...figures.map((text): Note => ({ text: `  ${text}` })),
  ];
}

/** Where the data leaves directions of the inputs open. */
function conditionNotes(layers: readonly CompressedLayer[]): Note[] {
  const open = layers.filter(({ conditioned }) => (conditioned?.missing ?? 0) > 0);
  const [first] = open;
  if (first?.conditioned === undefined) return [];
  const { missing, of, vectors } = first.conditioned;
  const more = open.length > 1 ? `, and so in ${counted(open.length - 1, 'more layer')}` : '';
  const why = vectors < of ? `there are ${vectors} vectors` : 'dead channels, say';
  return [
    {
      text: `No sample has anything in ${missing} of the ${of} directions that '${first.layer}' reads (${why})${more}: what is cut there is not measured.`,
      tone: 'aside',
    },
  ];
}
