import { glob } from '../../graph/names/glob.js';
import { descriptorOf, figureOf, reasonOf } from '../spectra/descriptors.js';
import type { MetricDescriptor, MetricKey } from '../spectra/metrics.js';
import type { Arithmetic, Assertion, Comparison, SizeName } from './assertion.js';
import type { RankReport, RankRow } from './rank-report.js';

/** A comparison that does not hold. */
export interface FailedComparison {
  /** The weights that its figures are of. */
  readonly weights: readonly string[];
  /** With the figures in their places: '48.1 < 0.5 * 32'. */
  readonly a: number | undefined;
  readonly b: number | undefined;
  readonly op: Comparison;
  /** Why a side has no number. */
  readonly reason: string | undefined;
}

/** What checkAssertion returns. */
export interface AssertionResult {
  readonly passed: boolean;
  /** How many weights (or, where an expression names several, combinations of them) were looked at. */
  readonly checked: number;
  /** Those for which it does not hold. */
  readonly failures: readonly FailedComparison[];
}

/** Thrown where a glob of an assertion matches no weight, or its sizes belong to none. */
export class AssertionNameError extends Error {
  readonly code = 'ERR_ASSERTION_NAME';
  override readonly name = 'AssertionNameError';
  /** The glob. */
  readonly weights: string | undefined;

  constructor(message: string, weights?: string) {
    super(message);
    this.weights = weights;
  }
}

/**
 * The metrics that an assertion needs.
 *
 * @example
 * assertedMetrics(parseAssertion('alpha(*) < 6 and stableRank(fc*) > 2')).map(({ key }) => key); // ['alpha', 'stableRank']
 */
export function assertedMetrics(assertion: Assertion): MetricDescriptor[] {
  const keys = new Set<MetricDescriptor['key']>();
  const ofArithmetic = (value: Arithmetic): void => {
    if (value.kind === 'figure') keys.add(value.metric);
    else if (value.kind === 'negative') ofArithmetic(value.of);
    else if (value.kind === 'binary') for (const side of [value.a, value.b]) ofArithmetic(side);
  };
  const visit = (part: Assertion): void => {
    if (part.kind === 'compare') for (const side of [part.a, part.b]) ofArithmetic(side);
    else for (const side of [part.a, part.b]) visit(side);
  };
  visit(assertion);
  return [...keys].map(descriptorOf);
}

/**
 * Whether an assertion holds for a report.
 *
 * Each comparison is a statement of its own: it must hold for every weight that its glob matches (for `or`, one side
 * must hold so). Where it names several globs, it must hold for every combination, equal globs standing for the same
 * weight; `min`, `max`, `rows` and `columns` are those of the weight that the first of them names. A comparison with a
 * figure that does not exist does not hold.
 *
 * `before` is the first figure that the comparison names, of the same weight in the baseline. A weight that the baseline does not have
 * does not hold.
 *
 * @param baseline a report from before: of the model that was trained or compressed, say
 * @throws AssertionNameError where a glob matches no weight of the report, and for `before` without a baseline
 * @example
 * checkAssertion(parseAssertion('stableRank(*) > 2'), report).failures;
 */
export function checkAssertion(
  assertion: Assertion,
  report: Pick<RankReport, 'rows'>,
  baseline?: Pick<RankReport, 'rows'>,
): AssertionResult {
  if (assertion.kind === 'compare') return checkComparison(assertion, report.rows, baseline?.rows);
  const [a, b] = [
    checkAssertion(assertion.a, report, baseline),
    checkAssertion(assertion.b, report, baseline),
  ];
  const passed = assertion.kind === 'and' ? a.passed && b.passed : a.passed || b.passed;
  return {
    passed,
    checked: a.checked + b.checked,
    failures: passed ? [] : [...a.failures, ...b.failures],
  };
}

/** Combinations of weights that one comparison may be about. */
const MOST = 1_000_000;

function checkComparison(
  { op, a, b }: Assertion & { readonly kind: 'compare' },
  rows: readonly RankRow[],
  baseline: readonly RankRow[] | undefined,
): AssertionResult {
  const globs = [...new Set([...globsOf(a), ...globsOf(b)])];
  if (globs.length === 0) {
    throw new AssertionNameError(
      'a comparison names no weight; write a metric of one, like effectiveRank(*)',
    );
  }
  const compared = firstFigure(a) ?? firstFigure(b);
  if (baseline === undefined && [a, b].some(namesBaseline))
    throw new AssertionNameError("'before' needs a baseline: two models, the one from before first");
  const matched = globs.map((pattern) => {
    const matches = glob(pattern);
    const found = rows.filter(({ weight, nodes }) => matches(weight) || nodes.some(matches));
    if (found.length === 0) throw new AssertionNameError(`no weight matches '${pattern}'`, pattern);
    return found;
  });
  const total = matched.reduce((count, found) => count * found.length, 1);
  if (total > MOST) throw new AssertionNameError(`a comparison is about ${total} combinations of weights`);
  const failures: FailedComparison[] = [];
  for (const combination of combinations(matched)) {
    const scope: Scope = new Map(globs.map((pattern, index) => [pattern, combination[index] as RankRow]));
    const before = (): Outcome =>
      compared === undefined ? NO_WEIGHT : figureBefore(compared, scope, baseline);
    // Of a figure that is only known to be at least so much, no more can be said than that.
    const left = boundOf(a, scope, op === '>' || op === '>=') ?? evaluate(a, scope, before);
    const right = boundOf(b, scope, op === '<' || op === '<=') ?? evaluate(b, scope, before);
    const bad = [left, right].find((side) => typeof side !== 'number');
    if (typeof left === 'number' && typeof right === 'number' && holds(op, left, right)) continue;
    failures.push({
      weights: combination.map((row) => row.weight),
      a: typeof left === 'number' ? left : undefined,
      b: typeof right === 'number' ? right : undefined,
      op,
      reason: bad === undefined ? undefined : (bad as { reason: string }).reason,
    });
  }
  return { passed: failures.length === 0, checked: total, failures };
}

type Figure = Arithmetic & { readonly kind: 'figure' };
type Scope = ReadonlyMap<string, RankRow>;

function firstFigure(value: Arithmetic): Figure | undefined {
  if (value.kind === 'figure') return value;
  if (value.kind === 'negative') return firstFigure(value.of);
  return value.kind === 'binary' ? (firstFigure(value.a) ?? firstFigure(value.b)) : undefined;
}

function namesBaseline(value: Arithmetic): boolean {
  if (value.kind === 'negative') return namesBaseline(value.of);
  return value.kind === 'before' || (value.kind === 'binary' && [value.a, value.b].some(namesBaseline));
}

function figureBefore({ metric, weights }: Figure, scope: Scope, baseline: readonly RankRow[] = []): Outcome {
  const weight = scope.get(weights)?.weight;
  const row = baseline.find((one) => one.weight === weight);
  if (row === undefined) return { reason: `the baseline has no weight '${weight}'` };
  return figureIn(row, metric);
}

function globsOf(value: Arithmetic): string[] {
  if (value.kind === 'figure') return [value.weights];
  if (value.kind === 'negative') return globsOf(value.of);
  return value.kind === 'binary' ? [...globsOf(value.a), ...globsOf(value.b)] : [];
}

function* combinations(sets: readonly (readonly RankRow[])[]): Generator<RankRow[]> {
  const [first, ...rest] = sets;
  if (first === undefined) {
    yield [];
    return;
  }
  for (const row of first) for (const others of combinations(rest)) yield [row, ...others];
}

type Outcome = number | { readonly reason: string };
const NO_WEIGHT = { reason: 'no weight' } as const;

/** The bound that a side of a comparison is, where it decides the comparison; undefined for everything else. */
function boundOf(side: Arithmetic, scope: Scope, decides: boolean): Outcome | undefined {
  if (!decides || side.kind !== 'figure') return undefined;
  const row = scope.get(side.weights);
  return row !== undefined && isLowerBound(row, side.metric) ? figureOf(row, side.metric) : undefined;
}

function isLowerBound({ metrics }: RankRow, key: MetricKey): boolean {
  if (key === 'conditionNumber') return metrics?.conditionNumberIsLowerBound === true;
  return key === 'numericalRank' && metrics?.numericalRankIsLowerBound === true;
}

function evaluate(value: Arithmetic, scope: Scope, before: () => Outcome): Outcome {
  switch (value.kind) {
    case 'number':
      return value.value;
    case 'size': {
      const [row] = scope.values();
      return row === undefined ? NO_WEIGHT : sizeOf(row, value.name);
    }
    case 'before':
      return before();
    case 'figure': {
      const row = scope.get(value.weights);
      return row === undefined ? NO_WEIGHT : figureIn(row, value.metric);
    }
    case 'negative': {
      const of = evaluate(value.of, scope, before);
      return typeof of === 'number' ? -of : of;
    }
    case 'binary': {
      const [a, b] = [evaluate(value.a, scope, before), evaluate(value.b, scope, before)];
      if (typeof a !== 'number') return a;
      if (typeof b !== 'number') return b;
      const result = { '+': a + b, '-': a - b, '*': a * b, '/': a / b }[value.op];
      return Number.isNaN(result) ? { reason: `${a} ${value.op} ${b} is no number` } : result;
    }
  }
}

function figureIn(row: RankRow, metric: MetricKey): Outcome {
  const figure = figureOf(row, metric);
  if (isLowerBound(row, metric)) return { reason: `its ${metric} is only known to be at least ${figure}` };
  return figure ?? { reason: `no ${metric}: ${reasonOf(row, metric)}` };
}

/** Several matrices count as the blocks of one. */
function sizeOf({ copies = 1, ...row }: RankRow, name: SizeName): number {
  const [rows, columns] = [row.rows * copies, row.columns * copies];
  return { min: Math.min(rows, columns), max: Math.max(rows, columns), rows, columns }[name];
}

function holds(op: Comparison, a: number, b: number): boolean {
  return { '<': a < b, '<=': a <= b, '>': a > b, '>=': a >= b, '==': a === b, '!=': a !== b }[op];
}
