import { AGREEMENT_FIGURES, QUALITY_FIGURES } from '../../evaluate/figures.js';
import type { CheckedLimit } from '../../evaluate/limits.js';
import type {
  ClassDifference,
  ClassQuality,
  Estimate,
  QualityReport,
  SampleDifference,
} from '../../evaluate/types.js';
import { type Column, type Document, type Grid, grid, type Note } from '../text/document.js';
import { counted, formatCount, formatNumber } from '../text/text.js';
import { differenceText, figureText, intervalText } from './text.js';

/** Options of qualityDocument. */
export interface QualityDocumentOptions {
  /** Where the samples are from: a path, and its part. */
  readonly data: string;
  /** What is to be said of the data. */
  readonly notes?: readonly string[] | undefined;
  readonly limits?: readonly CheckedLimit[] | undefined;
  /** List every class and sample that the report has. */
  readonly verbose?: boolean | undefined;
}

/** One figure of one model. */
interface FigureRow {
  readonly model: string;
  readonly key: string;
  readonly header: string;
  readonly format: 'share' | 'number';
  readonly estimate: Estimate;
  readonly difference: Estimate | undefined;
}

const FIGURE_COLUMNS: readonly Column<FigureRow>[] = [
  { key: 'model', header: 'model', shrink: 12, value: (row) => row.model },
  { key: 'figure', header: 'figure', value: (row) => row.key, text: (row) => row.header },
  {
    key: 'value',
    header: 'value',
    align: 'right',
    value: (row) => row.estimate.value,
    text: (row) => figureText(row.estimate.value, row.format),
  },
  {
    key: 'low',
    header: '95 % interval',
    align: 'right',
    priority: 1,
    definition: 'percentiles 2.5 and 97.5 of the bootstrap over the samples',
    value: (row) => row.estimate.interval?.low,
    text: (row) => intervalText(row.estimate, row.format),
  },
  { key: 'high', header: 'high', only: 'data', value: (row) => row.estimate.interval?.high },
];

const DIFFERENCE_COLUMNS: readonly Column<FigureRow>[] = [
  {
    key: 'difference',
    header: 'less the first',
    align: 'right',
    definition: 'the figure of this model less that of the first, on the same samples',
    value: (row) => row.difference?.value,
    text: (row) => differenceText(row.difference?.value, row.format),
  },
  {
    key: 'differenceLow',
    header: '95 % interval of that',
    align: 'right',
    definition: 'of paired resamples; an interval that holds 0 shows no difference',
    value: (row) => row.difference?.interval?.low,
    text: (row) => intervalText(row.difference, row.format, true),
  },
  {
    key: 'differenceHigh',
    header: 'difference high',
    only: 'data',
    value: (row) => row.difference?.interval?.high,
  },
];

const share = (value: number): string => (Number.isNaN(value) ? '–' : figureText(value, 'share'));

const LABEL_COLUMNS: readonly Column<Pick<ClassQuality, 'class' | 'name' | 'labels'>>[] = [
  {
    key: 'class',
    header: 'class',
    align: 'right',
    value: (row) => row.class,
    text: (row) => String(row.class),
  },
  { key: 'name', header: 'name', shrink: 10, value: (row) => row.name, text: (row) => row.name ?? '' },
  { key: 'labels', header: 'labels', align: 'right', value: (row) => row.labels },
];

const CLASS_COLUMNS: readonly Column<ClassQuality>[] = [
  ...LABEL_COLUMNS,
  {
    key: 'recall',
    header: 'recall',
    align: 'right',
    definition: 'share of the labels of this class that are found',
    value: (row) => row.recall,
    text: (row) => share(row.recall),
  },
  {
    key: 'precision',
    header: 'precision',
    align: 'right',
    definition: 'share of the decisions for this class that are right',
    value: (row) => row.precision,
    text: (row) => share(row.precision),
  },
  {
    key: 'iou',
    header: 'IoU',
    align: 'right',
    definition: 'intersection over union: found, of all that are labelled or decided so',
    value: (row) => row.iou,
    text: (row) => share(row.iou),
  },
];

const CHANGE_COLUMNS: readonly Column<ClassDifference>[] = [
  ...LABEL_COLUMNS,
  { key: 'lost', header: 'right in the first only', align: 'right', value: (row) => row.lost },
  { key: 'gained', header: 'right in this only', align: 'right', value: (row) => row.gained },
  {
    key: 'recall',
    header: 'recall',
    align: 'right',
    value: (row) => row.recall,
    text: (row) => differenceText(row.recall, 'share'),
  },
];

function sampleColumns(names: readonly string[] | undefined): readonly Column<SampleDifference>[] {
  const named = (label: number | undefined): string =>
    label === undefined ? '–' : names === undefined ? String(label) : `${label} ${names[label] ?? ''}`;
  const decision = (key: 'label' | 'first' | 'other', header: string): Column<SampleDifference> => ({
    key,
    header,
    align: 'right',
    value: (row) => row[key],
    text: (row) => named(row[key]),
  });
  return [
    {
      key: 'sample',
      header: 'sample',
      align: 'right',
      definition: 'its number in the file or folder, from 0',
      value: (row) => row.sample,
      text: (row) => String(row.sample),
    },
    decision('label', 'label'),
    decision('first', 'first'),
    decision('other', 'this'),
    { key: 'unequal', header: 'unequal', align: 'right', priority: 2, value: (row) => row.unequal },
    { key: 'positions', header: 'of', align: 'right', priority: 2, value: (row) => row.positions },
    {
      key: 'divergence',
      header: 'KL',
      align: 'right',
      priority: 1,
      value: (row) => row.divergence,
      text: (row) => formatNumber(row.divergence, 'significant3'),
    },
  ];
}

const SHOWN = 10;
const SHOWN_CLASSES = 20;

/**
 * What models reach, in all forms.
 *
 * @example
 * const report = await evaluateModels([{ name: 'a', model: a }, { name: 'b', model: b }], dataset);
 * console.log(render(qualityDocument(report, { data: 'mnist' })));
 */
export function qualityDocument(report: QualityReport, options: QualityDocumentOptions): Document {
  const { data, limits = [], verbose = false } = options;
  const { models } = report;
  const names = models.map(({ name }) => name);
  const title = names.length === 1 ? `${names[0]} on ${data}` : `${names.join(', ')} on ${data}`;
  return {
    kind: 'evaluate',
    title,
    data: { data, ...report, ...(limits.length > 0 && { limits }) },
    grids: [figureGrid(report), ...classGrids(report, verbose), ...comparisonGrids(report, verbose)],
    notes: [...noteTexts(report, options), ...limits.map((limit) => limitNote(limit, names[0] ?? ''))],
  };
}

function figureGrid(report: QualityReport): Grid {
  const rows = report.models.flatMap(({ name, figures }, index): FigureRow[] => {
    const comparison = report.comparisons[index - 1];
    const quality = QUALITY_FIGURES.flatMap(({ key, header, format }): FigureRow[] => {
      const estimate = figures[key];
      if (estimate === undefined) return [];
      const told = key === 'topAccuracy' ? `top-${report.top}` : header;
      return [{ model: name, key, header: told, format, estimate, difference: comparison?.differences[key] }];
    });
    const agreement = AGREEMENT_FIGURES.flatMap(({ key, header, format }): FigureRow[] => {
      const estimate = comparison?.agreement[key];
      return estimate === undefined
        ? []
        : [{ model: name, key, header, format, estimate, difference: undefined }];
    });
    return [...quality, ...agreement];
  });
  const columns = rows.some(({ difference }) => difference !== undefined)
    ? [...FIGURE_COLUMNS, ...DIFFERENCE_COLUMNS]
    : FIGURE_COLUMNS;
  return grid(columns, rows);
}

/** Of one model; of several their differences say more. */
function classGrids({ models }: QualityReport, verbose: boolean): Grid[] {
  const [{ classes, name } = { classes: undefined, name: '' }, ...others] = models;
  if (classes === undefined || (!verbose && (others.length > 0 || classes.length > SHOWN_CLASSES))) return [];
  const hasNames = classes.some((row) => row.name !== undefined);
  const columns = CLASS_COLUMNS.filter(({ key }) => hasNames || key !== 'name');
  return [grid(columns, classes, { title: others.length > 0 ? `Classes of ${name}` : 'Classes' })];
}

function comparisonGrids({ comparisons, classNames }: QualityReport, verbose: boolean): Grid[] {
  return comparisons.flatMap(({ name, classes, samples, unequalSamples }): Grid[] => {
    const columns = CHANGE_COLUMNS.filter(({ key }) => classNames !== undefined || key !== 'name');
    const shownClasses = verbose ? classes : classes.slice(0, SHOWN);
    const shownSamples = verbose ? samples : samples.slice(0, SHOWN);
    const of = (shown: number, all: number): string =>
      shown < all ? `, ${shown} of ${formatCount(all)}` : '';
    const isLabelled = samples.some(({ label }) => label !== undefined);
    return [
      grid(columns, shownClasses, {
        title: `Classes that differ in ${name}${of(shownClasses.length, classes.length)}`,
      }),
      grid(
        sampleColumns(classNames).filter(({ key }) => isLabelled || key !== 'label'),
        shownSamples,
        { title: `Samples that ${name} decides otherwise${of(shownSamples.length, unequalSamples)}, by KL` },
      ),
    ];
  });
}

function noteTexts(report: QualityReport, { data, notes: given = [] }: QualityDocumentOptions): Note[] {
  const notes: Note[] = [];
  const { samples, counted: labels, task, resamples, seed } = report;
  const what =
    task === 'classes' && labels !== samples
      ? `, ${counted(labels, report.isNextToken ? 'token' : 'label')}`
      : '';
  const intervals =
    resamples === 0 || samples < 2
      ? 'no intervals'
      : `95 % intervals by ${counted(resamples, 'resample')}, seed ${seed}`;
  notes.push({ text: `${counted(samples, 'sample')} of ${data}${what}; ${intervals}`, tone: 'aside' });
  for (const text of [...given, ...report.notes]) notes.push({ text, tone: 'aside' });
  for (const { name, nonFinite } of report.models) {
    if (nonFinite === 0) continue;
    const text = `${name}: ${counted(nonFinite, 'sample')} with NaN or infinite outputs, taken as wrong; the loss is no number`;
    notes.push({ text, tone: 'bad' });
  }
  for (const { name, lost, gained, unequal, unequalSamples } of report.comparisons) {
    if (task === 'values') continue;
    const right =
      task === 'classes'
        ? `; right in the first only ${formatCount(lost)}, in ${name} only ${formatCount(gained)}`
        : '';
    notes.push({
      text: `${name}: ${counted(unequal, 'decision')} otherwise than the first, in ${counted(unequalSamples, 'sample')}${right}`,
    });
  }
  return notes;
}

/** What a limit says; the point estimate decides. */
export function limitNote(
  { model, figure, option, limit, value, passed }: CheckedLimit,
  first: string,
): Note {
  const isDrop = option === 'maxDrop';
  const allowed = isDrop ? `${limit} points` : `${Number((100 * limit).toPrecision(6))}%`;
  const reached = isDrop ? `${Number(value.toFixed(3))} points` : `${Number((100 * value).toFixed(2))}%`;
  const what =
    figure === 'equalDecisions'
      ? `${reached} of the decisions differ from those of ${first}`
      : isDrop
        ? `accuracy ${value > 0 ? `${reached} below` : `${Number((-value).toFixed(3))} points above`} that of ${first}`
        : `${figure} ${value > 0 ? `${reached} above` : `${Number((-100 * value).toFixed(2))}% below`} that of ${first}`;
  return {
    text: `${passed ? 'holds' : 'FAILS'}: ${model}: ${what}; allowed are ${allowed}`,
    tone: passed ? 'good' : 'bad',
  };
}
