import { OptionError } from '../graph/option-descriptors.js';
import type { AgreementKey, QualityKey } from './figures.js';
import type { Estimate, QualityReport } from './types.js';

/** How much worse than the first model another may be; see checkQuality. */
export interface QualityLimits {
  /**
   * Points of accuracy (0.5: half a percent of the labels) that another model may be below the first. Without labels,
   * points by which its decisions may differ from the first's.
   */
  readonly maxDrop?: number | undefined;
  /** Share by which the loss (of numbers, the MSE) may be above that of the first model: 0.02. */
  readonly maxRise?: number | undefined;
}

/** A limit, and what a model reaches. */
export interface CheckedLimit {
  readonly model: string;
  readonly figure: QualityKey | AgreementKey;
  readonly option: keyof QualityLimits;
  readonly limit: number;
  /** In the unit of the limit: points, or a share of the first model's figure. The point estimate decides. */
  readonly value: number;
  /** Whether it is at most the limit; false for what is no number. */
  readonly passed: boolean;
}

/**
 * Holds every model of a report but the first against limits. The point estimate decides, not the interval.
 *
 * @throws OptionError for a report of one model, and for a limit of a figure that the report does not have
 * @example
 * const checked = checkQuality(quality, { maxDrop: 0.5 });
 * if (!checked.every(({ passed }) => passed)) process.exitCode = 1;
 */
export function checkQuality(report: QualityReport, limits: QualityLimits): readonly CheckedLimit[] {
  const { maxDrop, maxRise } = limits;
  const [first] = report.models;
  const checked: CheckedLimit[] = [];
  for (const [option, limit] of Object.entries({ maxDrop, maxRise }) as [keyof QualityLimits, number?][]) {
    if (limit === undefined) continue;
    if (!(limit >= 0)) throw new OptionError(option, `must be a number ≥ 0, is ${limit}`);
    if (report.comparisons.length === 0)
      throw new OptionError(option, 'needs a second model, to compare with the first');
    for (const comparison of report.comparisons) {
      const made =
        option === 'maxDrop'
          ? dropOf(comparison.differences.accuracy, comparison.agreement.equalDecisions, report)
          : riseOf(first?.figures ?? {}, comparison.differences);
      if (made === undefined)
        throw new OptionError(
          option,
          option === 'maxDrop'
            ? 'is of accuracy, which numbers have none of; `maxRise` is of their MSE'
            : 'is of the loss, which there is none of without targets',
        );
      checked.push({ model: comparison.name, option, limit, ...made, passed: made.value <= limit });
    }
  }
  return checked;
}

type Reached = Pick<CheckedLimit, 'figure' | 'value'>;

function dropOf(
  accuracy: Estimate | undefined,
  equal: Estimate | undefined,
  { task }: QualityReport,
): Reached | undefined {
  // Half a point of accuracy must not fail by the last bit of a difference of shares.
  const points = (share: number): number => Number((100 * share).toPrecision(12));
  if (accuracy !== undefined) return { figure: 'accuracy', value: points(-accuracy.value) };
  if (task !== 'agreement' || equal === undefined) return undefined;
  return { figure: 'equalDecisions', value: points(1 - equal.value) };
}

function riseOf(
  first: QualityReport['models'][number]['figures'],
  differences: QualityReport['comparisons'][number]['differences'],
): Reached | undefined {
  const figure = differences.loss === undefined ? 'mse' : 'loss';
  const [base, change] = [first[figure], differences[figure]];
  if (base === undefined || change === undefined) return undefined;
  return { figure, value: change.value === 0 ? 0 : change.value / base.value };
}
