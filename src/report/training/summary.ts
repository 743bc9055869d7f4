import type { StepFigures } from '../../training/describe.js';
import type { EpochRecord, RankFigures, TrainPlan } from '../../training/events.js';
import type { TrainResult } from '../../training/train.js';
import { type Column, type Document, grid, type Note } from '../text/document.js';
import { counted, formatCount, formatNumber, formatSignificant, printable } from '../text/text.js';

/** Options of trainDocument. */
export interface TrainDocumentOptions {
  readonly output?: string | undefined;
  readonly test?:
    | { readonly samples: number; readonly loss: number; readonly accuracy: number | undefined }
    | undefined;
  /** What was to be trained. */
  readonly plan?: TrainPlan | undefined;
  /** Also of the factors of chains. */
  readonly verbose?: boolean;
}

interface RankChange {
  readonly before: RankFigures | undefined;
  readonly after: RankFigures;
}

const RANKS: readonly Column<RankChange>[] = [
  { key: 'weight', header: 'weight', value: ({ after }) => after.weight, shrink: 20 },
  {
    key: 'role',
    header: 'role',
    definition:
      'what the weight is: one of a layer, a factor of a chain, or what the factors multiply out to',
    value: ({ after }) => after.role,
    priority: 3,
  },
  {
    key: 'matrix',
    header: 'matrix',
    align: 'right',
    value: ({ after }) => `${after.rows}x${after.columns}`,
    text: ({ after }) => `${formatCount(after.rows)} × ${formatCount(after.columns)}`,
    priority: 2,
  },
  ...(['before', 'after'] as const).map(
    (when): Column<RankChange> => ({
      key: `${when}EffectiveRank`,
      header: when === 'before' ? 'eff.rank before' : 'after',
      definition:
        'effective rank, exp of the spectral entropy, before the training and with the weights it ends with',
      align: 'right',
      value: (row) => row[when]?.effectiveRank,
      text: (row) => formatNumber(row[when]?.effectiveRank, 'fixed1'),
    }),
  ),
  {
    key: 'effectiveRankRatio',
    header: 'of max',
    definition: 'effective rank after the training / min(rows, columns)',
    align: 'right',
    value: ({ after }) => after.effectiveRankRatio,
    text: ({ after }) => formatNumber(after.effectiveRankRatio, 'percent'),
    priority: 1,
  },
  {
    key: 'stableRank',
    header: 'stable rank',
    align: 'right',
    value: ({ after }) => after.stableRank,
    text: ({ after }) => formatNumber(after.stableRank, 'fixed2'),
    priority: 4,
  },
];

/**
 * What a training came to, in all forms.
 *
 * @example
 * const result = await train(model, dataset, { epochs: 3 }).result();
 * console.log(render(trainDocument(result)));
 */
export function trainDocument(result: TrainResult, options: TrainDocumentOptions = {}): Document {
  const { history, best, last, reason, epochs, steps, seconds, test } = result;
  const { output, verbose = false } = options;
  const first = history.find(({ epoch }) => epoch === 0);
  const shown = (best?.ranks ?? []).filter(({ role }) => verbose || role !== 'factor');
  const ranks = shown.map((after) => ({
    before: first?.ranks.find(({ weight, role }) => weight === after.weight && role === after.role),
    after,
  }));
  const notes: Note[] = [
    {
      text: `${counted(epochs, 'epoch')}, ${counted(steps, 'step')} in ${duration(seconds)}${reason === 'epochs' ? '' : `; ended by ${reason === 'patience' ? 'patience: no epoch was better' : 'a signal'}`}`,
    },
    ...(best?.validation === undefined
      ? []
      : [{ text: `epoch ${best.epoch}, validation: ${figures(best.validation)}` }]),
    ...betterBefore(first, best),
    ...(best?.validation !== undefined || last?.training === undefined
      ? []
      : [{ text: `epoch ${last.epoch}, training: ${figures(last.training)}` }]),
    ...(test === undefined ? [] : [{ text: `test: ${figures(test)}`, tone: 'good' as const }]),
    ...(result.pruned ?? []).map(({ weight, rank, of }) => ({
      text: `${printable(weight)} has rank ${formatCount(rank)} of ${formatCount(of)}`,
    })),
    ...planNotes(options.plan),
    ...(output === undefined || output === '-' ? [] : [{ text: `written to ${printable(output)}` }]),
  ];
  return {
    kind: 'train',
    title: 'Training',
    data: { reason, epochs, steps, seconds, best, test, pruned: result.pruned, output, history },
    grids: [grid(RANKS, ranks)],
    notes,
  };
}

/** That training made the model worse, by what was looked at. */
function betterBefore(first: EpochRecord | undefined, best: EpochRecord | undefined): Note[] {
  const [before, after] = [first?.validation, best?.validation];
  if (before === undefined || after === undefined) return [];
  const isWorse =
    before.accuracy === undefined || after.accuracy === undefined
      ? !(after.loss <= before.loss)
      : after.accuracy < before.accuracy;
  if (!isWorse) return [];
  return [
    {
      text: `the model was better before training: ${figures(before)}; lower the learning rate, or train longer`,
      tone: 'warning',
    },
  ];
}

/** What a user should know of a plan besides its figures. */
export function planNotes(plan: TrainPlan | undefined): Note[] {
  if (plan === undefined) return [];
  return [
    ...untiedNote(plan),
    ...callsNote(plan),
    ...tiedNote(plan),
    ...headNote(plan),
    ...unreachedNote(plan),
    ...quantizedNote(plan),
    ...adaptersNote(plan),
    ...(plan.widened
      ? [{ text: 'bfloat16 is computed in float32; weights are rounded to it at the end' }]
      : []),
    ...filledNote(plan),
  ];
}

/** The first few of some names. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, MOST_NAMES).map(printable).join(', ');
  return names.length > MOST_NAMES ? `${shown} and ${formatCount(names.length - MOST_NAMES)} more` : shown;
}

const MOST_NAMES = 4;

/** That layers train as one. */
function tiedNote({ tied = [], parameters }: TrainPlan): Note[] {
  if (tied.length === 0) return [];
  const saved = tied.reduce((sum, one) => sum + one.saved, 0);
  return [
    {
      text: `${counted(tied.length, 'weight')} shared by several layers ${tied.length === 1 ? 'trains' : 'train'} as one (${listed(tied.map(({ name, nodes }) => `${name} of ${nodes.length} nodes`))}): ${formatCount(parameters)} of ${formatCount(parameters + saved)} parameters; if an exporter merged them because they began equal, \`untie: ['*']\` gives each layer its own`,
      tone: 'warning',
    },
  ];
}

/** That the model has outputs that no sample is of. */
function headNote({ labels, outputs, loss }: TrainPlan): Note[] {
  if (loss !== 'cross-entropy' || labels === undefined || outputs === undefined || labels >= outputs)
    return [];
  return [
    {
      text: `the labels are of ${counted(labels, 'class', 'classes')}, but the model has ${formatCount(outputs)} outputs; \`head: ${labels}\` gives it a fresh last layer`,
      tone: 'warning',
    },
  ];
}

/** That weights stay as they are because a derivative is zero. */
function unreachedNote({ unreached = [] }: TrainPlan): Note[] {
  const [first] = unreached;
  if (first === undefined) return [];
  return [
    {
      text: `${listed(unreached.map(({ name }) => name))} not trained: no gradient flows through ${first.op} '${printable(first.node)}': its derivative is zero`,
      tone: 'warning',
    },
  ];
}

/** That quantized weights stay as they are. */
function quantizedNote({ quantized = [] }: TrainPlan): Note[] {
  if (quantized.length === 0) return [];
  return [
    {
      text: `${counted(quantized.length, 'quantized matrix', 'quantized matrices')} not trained (${listed(quantized)}); train the float model and quantize it afterwards`,
      tone: 'warning',
    },
  ];
}

/** That layers no longer share what was equal by chance. */
function untiedNote(plan: TrainPlan | undefined): Note[] {
  const count = plan?.untied.length ?? 0;
  if (count === 0) return [];
  return [
    {
      text: `${counted(count, 'copy', 'copies')} made of weights that layers shared because they were equal, so that each trains its own`,
    },
  ];
}

/** That the graph of the model changes. */
function callsNote(plan: TrainPlan | undefined): Note[] {
  const calls = plan?.calls ?? [];
  if (calls.length === 0) return [];
  return [
    {
      text: `${counted(calls.length, 'function call')} replaced by ${calls.length === 1 ? 'its' : 'their'} nodes (${listed(calls)}), so that weights in functions can be trained apart`,
    },
  ];
}

/** That the model stays as it is beside its adapters. */
function adaptersNote(plan: TrainPlan | undefined): Note[] {
  if (plan?.adapters !== true) return [];
  return [
    {
      text: `adapters alone are trained; ${counted(plan.frozen.length, 'weight')} beside them stay as they are (\`only: ['*']\` trains all)`,
    },
  ];
}

/** That a file without its weights is no place to start from. */
function filledNote(plan: TrainPlan | undefined): Note[] {
  const [first, ...more] = plan?.filled ?? [];
  if (first === undefined) return [];
  const which = more.length === 0 ? '' : ` and ${formatCount(more.length)} more`;
  return [
    {
      text: `${printable(first)}${which}: all elements are equal, so it will barely train; \`fromScratch: 'kaiming'\` draws random weights`,
      tone: 'warning',
    },
  ];
}

/** Names of options as words: fromScratch as from scratch. */
export function settingText(name: string, value: unknown): string {
  const words = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  if (typeof value === 'object' && value !== null) {
    const parts = Object.entries(value).map(([key, inner]) => settingText(key, inner));
    return `${words} (${parts.join(', ')})`;
  }
  return value === true ? words : `${words} ${String(value)}`;
}

function figures({
  loss,
  accuracy,
  samples,
  perplexity,
}: {
  perplexity?: number | undefined;
  loss: number;
  accuracy: number | undefined;
  samples?: number;
}): string {
  const of = samples === undefined ? '' : ` of ${formatCount(samples)} samples`;
  const right = accuracy === undefined ? '' : `${formatNumber(accuracy, 'percent')} right${of}, `;
  const even = perplexity === undefined ? '' : `, perplexity ${formatSignificant(perplexity)}`;
  return `${right}loss ${formatSignificant(loss)}${even}${accuracy === undefined ? of : ''}`;
}

/** 3.2 s, 4 min 05 s, 2 h 03 min. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  const two = (value: number): string => String(value).padStart(2, '0');
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

interface PlanRow {
  readonly name: string;
  readonly shape: readonly number[];
  readonly decays: boolean;
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/**
 * What would be trained, in all forms.
 *
 * @example
 * const { plan, step } = await describeTraining(model, dataset, { epochs: 3 });
 * console.log(render(planDocument(plan, step)));
 */
export function planDocument(plan: TrainPlan, step: StepFigures | undefined): Document {
  const columns: readonly Column<PlanRow>[] = [
    { key: 'weight', header: 'weight', value: ({ name }) => name, shrink: 24 },
    {
      key: 'shape',
      header: 'shape',
      align: 'right',
      value: ({ shape }) => shape.join('x'),
      text: ({ shape }) => shape.join(' × ') || '–',
    },
    {
      key: 'parameters',
      header: 'params',
      align: 'right',
      value: ({ shape }) => shape.reduce((product, dim) => product * dim, 1),
    },
    ...(plan.weights.some(({ decays }) => decays)
      ? [{ key: 'decay', header: 'decay', value: ({ decays }: PlanRow) => (decays ? 'yes' : 'no') }]
      : []),
  ];
  const { samples, validationSamples, batch, stepsPerEpoch, epochs } = plan;
  const settings = Object.entries(plan.settings).map(([name, value]) => settingText(name, value));
  const notes: Note[] = [
    {
      text: `${counted(plan.weights.length, 'weight')}, ${counted(plan.parameters, 'parameter')}${plan.chains > 0 ? `, ${counted(plan.chains, 'chain')}` : ''}${plan.frozen.length > 0 ? `; ${counted(plan.frozen.length, 'weight')} frozen` : ''}`,
    },
    ...planNotes(plan),
    {
      text: `${counted(samples, 'sample')}${validationSamples > 0 ? `, ${formatCount(validationSamples)} to validate` : ''}; ${counted(epochs, 'epoch')} of ${counted(stepsPerEpoch, 'step')} of ${counted(batch, 'sample')}`,
    },
    {
      text: [
        `${plan.loss}, ${plan.optimizer}, learning rate ${plan.learningRate}, ${plan.schedule}`,
        ...settings,
      ].join(', '),
    },
    ...(step === undefined
      ? []
      : [
          {
            text: `one step is a graph of ${counted(step.nodes, 'node')} of ${counted(step.operators, 'operator')}, which carries ${mebibytes(step.stateBytes)} from step to step${step.peakBytes === undefined ? '' : `, and at least ${mebibytes(step.peakBytes)} within one`}`,
          },
        ]),
  ];
  return {
    kind: 'train-plan',
    title: 'What would be trained',
    data: { ...plan, step },
    grids: [
      grid(columns, plan.weights, {
        total: { weight: counted(plan.weights.length, 'weight'), parameters: formatCount(plan.parameters) },
      }),
    ],
    notes,
  };
}
