import type { OutputComparison } from '../analysis/verify/output-comparison.js';
import type { Verification, VerifyPlacement } from '../analysis/verify/verify.js';
import { placementNotes, WIDENED } from './inference.js';
import { type Column, type Document, grid, type Note } from './text/document.js';
import { counted, formatSignificant } from './text/text.js';

const COLUMNS: readonly Column<OutputComparison>[] = [
  { key: 'output', header: 'output', shrink: 12, value: (row) => row.name },
  {
    key: 'type',
    header: 'type',
    priority: 3,
    value: (row) => (row.otherType === undefined ? row.type : `${row.type}, ${row.otherType}`),
  },
  { key: 'elements', header: 'elements', align: 'right', priority: 4, value: (row) => row.elements },
  {
    key: 'maxDifference',
    header: 'max |Δ|',
    align: 'right',
    priority: 5,
    definition: 'the largest |a - b| over all samples',
    value: (row) => row.maxDifference,
    text: (row) => figure(row.maxDifference),
  },
  { key: 'maxValue', header: 'max |a|', only: 'data', value: (row) => row.maxValue },
  {
    key: 'relativeDifference',
    header: 'max |Δ| / max |a|',
    align: 'right',
    definition:
      'the largest difference relative to the largest value of that output: what the tolerance is held against',
    value: (row) => row.relativeDifference,
    text: (row) =>
      row.tolerance === 0 ? `${figure(100 * row.differingFraction)}% differ` : figure(row.relativeDifference),
  },
  {
    key: 'relativeRms',
    header: 'RMS Δ / RMS a',
    align: 'right',
    priority: 2,
    definition: 'root mean square of the difference relative to that of the output',
    value: (row) => row.relativeRms,
    text: (row) => figure(row.relativeRms),
  },
  {
    key: 'nonFiniteDifferences',
    header: 'NaN or inf',
    only: 'data',
    value: (row) => row.nonFiniteDifferences,
  },
  { key: 'compared', header: 'compared', only: 'data', value: (row) => row.compared },
  { key: 'isConstant', header: 'constant', only: 'data', value: (row) => row.isConstant },
  { key: 'differingFraction', header: 'differing', only: 'data', value: (row) => row.differingFraction },
  {
    key: 'tolerance',
    header: 'tolerance',
    align: 'right',
    priority: 1,
    value: (row) => row.tolerance,
    text: (row) => (row.tolerance === 0 ? 'exact' : figure(row.tolerance)),
  },
  { key: 'rounding', header: 'rounding', only: 'data', value: (row) => row.rounding },
  {
    key: 'passed',
    header: 'verdict',
    value: (row) => row.passed,
    text: (row) => (!row.passed ? 'DIFFERS' : row.compared === 0 ? 'nothing compared' : 'same'),
  },
];

function figure(value: number): string {
  return Number.isFinite(value) ? formatSignificant(value) : '∞';
}

/**
 * A verification of two models in all forms.
 *
 * @example
 * const verification = await verifyModels(a, b);
 * console.log(render(verifyDocument(verification, { a: 'a.onnx', b: 'b.onnx' })));
 */
export function verifyDocument(
  verification: Verification,
  names: { readonly a: string; readonly b: string; readonly given?: readonly string[] },
): Document {
  const { passed, verdict, samples, outputs, problems } = verification;
  const bad = outputs.filter((output) => !output.passed);
  const notes: Note[] = [
    ...(names.given ?? []).map((text): Note => ({ text, tone: 'aside' })),
    ...problems.map((text): Note => ({ text, tone: 'bad' })),
  ];
  for (const { name, nonFiniteDifferences } of bad) {
    if (nonFiniteDifferences > 0) {
      const count = counted(nonFiniteDifferences, 'element');
      notes.push({ text: `output '${name}': ${count} NaN or infinite in one model only`, tone: 'bad' });
    }
  }
  notes.push(
    ...outputs.flatMap((output) => roundingNote(output, verification.rounds === 'b' ? names.b : names.a)),
  );
  notes.push(...decisionNote(verification, names));
  notes.push(...divergenceNote(verification, names));
  notes.push(...whoRan(verification, names));
  // A model beside itself has one name.
  for (const name of new Set((verification.widened ?? []).map((side) => names[side])))
    notes.push({ text: `${name}: ${WIDENED}`, tone: 'aside' });
  const inputs = names.given
    ? samples > 1
      ? `${samples} given inputs`
      : 'the given inputs'
    : counted(samples, 'random input');
  notes.push(...emptyNotes(outputs));
  if (verdict === 'nothing compared') {
    notes.push({
      text: `Nothing was compared on ${inputs}: no output has ${outputs.some(({ elements }) => elements > 0) ? 'a finite element' : 'an element'}.`,
      tone: 'bad',
    });
  } else if (passed)
    notes.push({ text: `Same function on ${inputs}: ${names.b} agrees with ${names.a}.`, tone: 'good' });
  else if (bad.length > 0) {
    notes.push({
      text: `Not the same function on ${inputs}: ${bad.length} of ${counted(outputs.length, 'output')} past the tolerance.`,
      tone: 'bad',
    });
  } else notes.push({ text: `Not the same function: ${names.a} and ${names.b} do not match.`, tone: 'bad' });
  return {
    kind: 'verify',
    title: `${names.a} and ${names.b}: ${TITLES[verdict]}`,
    data: { a: names.a, b: names.b, ...verification },
    grids: [grid(COLUMNS, outputs)],
    notes,
  };
}

const TITLES = {
  same: 'the same function',
  different: 'not the same function',
  'nothing compared': 'nothing was compared',
} as const satisfies Record<Verification['verdict'], string>;

/** Outputs that say less than they seem to. */
function emptyNotes(outputs: readonly OutputComparison[]): Note[] {
  return outputs.flatMap(({ name, passed, compared, elements, isConstant }): Note[] => {
    if (!passed) return [];
    const what =
      compared === 0
        ? `has ${elements > 0 ? 'no finite element' : 'no element'}, so it was not compared`
        : isConstant
          ? 'is the same for every input'
          : undefined;
    return what === undefined ? [] : [{ text: `output '${name}' ${what}`, tone: 'aside' }];
  });
}

/** What rounding alone does to an output that is past the tolerance. */
function roundingNote({ name, rounding, passed }: OutputComparison, model: string): Note[] {
  if (rounding === undefined) return [];
  const moves = `output '${name}': ${model} itself moves it by ${figure(rounding)} when its inputs, weights and inner values change in their last bits`;
  return [
    passed
      ? { text: `${moves}, so this difference is rounding`, tone: 'aside' }
      : { text: moves, tone: 'bad' },
  ];
}

/** Where the models part inside. */
function divergenceNote(
  { divergence }: Verification,
  names: { readonly a: string; readonly b: string },
): Note[] {
  if (divergence === undefined) return [];
  const { value, nodes, relativeDifference, agreeing } = divergence;
  const before = counted(agreeing, 'inner value');
  if (value === undefined || nodes === undefined) {
    const text =
      agreeing === 0
        ? 'no inner value has the same name and shape in both models, so it is not known where they part'
        : `all ${before} of the same name agree: the models part behind them`;
    return [{ text, tone: 'aside' }];
  }
  const [one, other] = nodes;
  const isSame = one.name === other.name && one.opType === other.opType;
  const maker = isSame
    ? `${one.opType} '${one.name}'`
    : `${one.opType} '${one.name}' of ${names.a} and ${other.opType} '${other.name}' of ${names.b}`;
  const agree = agreeing === 0 ? 'none before it could be compared' : `${before} before it agree`;
  return [
    {
      text: `first inner value that differs: '${value}', made by ${maker}, by ${figure(relativeDifference)} of its largest value; ${agree}`,
      tone: 'bad',
    },
  ];
}

const MOST_NAMED = 3;

/** What rounding decides otherwise, where that is all that differs. */
function decisionNote(
  { decisions }: Verification,
  names: { readonly a: string; readonly b: string },
): Note[] {
  if (decisions === undefined) return [];
  const { nodes, forced, relativeDifference } = decisions;
  const named = nodes.slice(0, MOST_NAMED).map(({ name, opType }) => `${opType} '${name}'`);
  const more = nodes.length > named.length ? ` and ${nodes.length - named.length} more` : '';
  return [
    {
      text:
        `${named.join(', ')}${more}: rounding decides otherwise in ${names.b}; what the ${counted(forced, 'deciding node')} ` +
        `read agrees to ${figure(relativeDifference)}, and the outputs above are those with the decisions of ${names.a} in both`,
      tone: 'aside',
    },
  ];
}

/** Which provider ran the nodes of both, where they were asked for. */
function whoRan({ placements }: Verification, names: { readonly a: string; readonly b: string }): Note[] {
  if (placements === undefined) return [];
  const { a, b } = placements;
  const notes = new Map<string, Note>();
  for (const { provider, reason } of [...a.passedOver, ...b.passedOver]) {
    notes.set(provider, { text: `${provider} was passed over: ${reason}`, tone: 'aside' });
  }
  const place = ({ fallen, providers, ...placement }: VerifyPlacement, who: string): Note[] =>
    placementNotes(placement, fallen, providers).map(({ text, tone }) => ({
      text: `${who}: ${text}`,
      tone: tone === 'warning' ? tone : 'aside',
    }));
  return [...notes.values(), ...place(a, names.a), ...place(b, names.b)];
}
