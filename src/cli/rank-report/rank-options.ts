import { type Assertion, AssertionSyntaxError, parseAssertion } from '../../analysis/report/assertion.js';
import {
  AssertionNameError,
  assertedMetrics,
  checkAssertion,
} from '../../analysis/report/assertion-check.js';
import type { RankReport } from '../../analysis/report/rank-report.js';
import { ALL_METRICS, descriptorOf, findMetric, isRandomized } from '../../analysis/spectra/descriptors.js';
import { METRICS, type MetricDescriptor } from '../../analysis/spectra/metrics.js';
import { EXTRA_METRICS } from '../../analysis/spectra/spectral-descriptors.js';
import type { CheckedAssertion } from '../../report/rank/rank.js';
import { SORT_SIZES, type SortKey } from '../../report/rank/rank-order.js';
import type { Format } from '../../report/text/render.js';
import { UsageError } from '../shell/errors.js';
import type { Io } from '../shell/io.js';
import { nearest } from '../shell/suggest.js';

const METRIC_KEYS = ALL_METRICS.map(({ key }) => key);

/** An option that may be given several times, and as a list with commas. */
export type ListArgument = string | readonly string[] | undefined;

export function listOf(values: ListArgument): string[] {
  return [values ?? []]
    .flat()
    .flatMap((text) => text.split(','))
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** A metric by its key or its column's header, or UsageError with the one that was probably meant. */
function metricNamed(name: string, option: string): MetricDescriptor {
  const found = findMetric(name);
  if (found !== undefined) return found;
  throw new UsageError(`${option}: ${unknown('metric', name, METRIC_KEYS)}`);
}

function unknown(what: string, name: string, candidates: readonly string[]): string {
  const byLower = new Map(candidates.map((candidate) => [candidate.toLowerCase(), candidate]));
  const meant = nearest(name.toLowerCase(), [...byLower.keys()]);
  return `no ${what} '${name}'${meant === undefined ? '; --help lists them' : `; did you mean ${byLower.get(meant)}?`}`;
}

export interface MetricChoice {
  /** The columns; undefined for the default ones. */
  readonly columns: readonly MetricDescriptor[] | undefined;
  /** What the report has to compute for them. */
  readonly extras: boolean;
  readonly randomized: boolean;
}

/**
 * What `--metrics`, `--randomized`, `--rank`, `--sort` and the format ask for.
 *
 * @param also further metrics that are needed: those that rows are sorted or checked by
 */
export function chooseMetrics(
  given: ListArgument,
  options: {
    readonly randomized: boolean;
    readonly rank: number | undefined;
    readonly format: Format;
    readonly also: readonly MetricDescriptor[];
  },
): MetricChoice {
  const names = listOf(given);
  const { rank, also, format } = options;
  const base: MetricDescriptor[] = [];
  for (const name of names) {
    if (name === 'basic') base.push(...METRICS);
    else if (name === 'all') base.push(...METRICS, ...EXTRA_METRICS.filter(({ key }) => !isRandomized(key)));
    else base.push(metricNamed(name, '--metrics'));
  }
  const isNamed = names.length > 0;
  const chosen = isNamed ? base : [...METRICS];
  const randomized = options.randomized || [...chosen, ...also].some(({ key }) => isRandomized(key));
  if (options.randomized) chosen.push(...EXTRA_METRICS.filter(({ key }) => isRandomized(key)));
  if (rank !== undefined) chosen.push(descriptorOf('rankDistance'));
  else if ([...chosen, ...also].some(({ key }) => key === 'rankDistance')) {
    throw new UsageError('rankDistance is the distance to a rank: pass --rank <r> with it');
  }
  const isAsked = isNamed && !names.includes('all') && !names.includes('basic');
  const columns = [...new Map([...chosen, ...also].map((metric) => [metric.key, metric])).values()];
  const isBasic = (metric: MetricDescriptor): boolean => METRICS.some(({ key }) => key === metric.key);
  return {
    columns:
      isNamed || columns.length > METRICS.length
        ? // What was asked for by its name goes last from a narrow table.
          columns.map((metric) => (isAsked || also.includes(metric) ? { ...metric, priority: 1 } : metric))
        : undefined,
    extras: format === 'json' || columns.some((metric) => !isBasic(metric) && metric.key !== 'rankDistance'),
    randomized,
  };
}

/** What `--sort` asks for: a metric or a size, largest first unless `:asc` follows. */
export function sortOf(given: string | undefined): { by: SortKey; ascending: boolean } | undefined {
  if (given === undefined) return undefined;
  const [name = '', direction = 'desc', ...rest] = given.split(':');
  if (rest.length > 0 || !['asc', 'desc'].includes(direction)) {
    throw new UsageError(`--sort is a metric, with :asc for the smallest first, not '${given}'`);
  }
  const size = SORT_SIZES.find((key) => key === name);
  return { by: size ?? metricNamed(name, '--sort').key, ascending: direction === 'asc' };
}

/** The metric to sort by; none where it is a size of the weight. */
export function metricsSortedBy(sort: { readonly by: SortKey } | undefined): MetricDescriptor[] {
  const isBySize = SORT_SIZES.some((key) => key === sort?.by);
  return sort === undefined || isBySize ? [] : [metricNamed(sort.by, '--sort')];
}

/** How to draw spectra: in ASCII where the locale names another character set than UTF-8. */
export function glyphStyle({ env }: Pick<Io, 'env'>): 'unicode' | 'ascii' {
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || '';
  return locale === '' || /utf-?8/i.test(locale) ? 'unicode' : 'ascii';
}

export interface GivenAssertion {
  readonly text: string;
  readonly assertion: Assertion;
}

/** What `--assert` says, or UsageError. */
export function assertionsOf(given: ListArgument): GivenAssertion[] {
  return [given ?? []].flat().map((text) => {
    try {
      return { text, assertion: parseAssertion(text) };
    } catch (error) {
      if (!(error instanceof AssertionSyntaxError)) throw error;
      const { message, metric, position } = error;
      const problem = metric === undefined ? message : unknown('metric', metric, METRIC_KEYS);
      throw new UsageError(`--assert: ${problem} (at character ${position + 1} of '${text}')`);
    }
  });
}

/** The metrics that assertions are about. */
export function metricsOf(assertions: readonly GivenAssertion[]): MetricDescriptor[] {
  return assertions.flatMap(({ assertion }) => assertedMetrics(assertion));
}

/** Holds assertions against a report and, where they say `before`, one from before; UsageError where one names a weight that is not there. */
export function checkAssertions(
  assertions: readonly GivenAssertion[],
  report: RankReport,
  baseline?: RankReport,
): CheckedAssertion[] {
  return assertions.map(({ text, assertion }) => {
    try {
      return { text, ...checkAssertion(assertion, report, baseline) };
    } catch (error) {
      if (!(error instanceof AssertionNameError)) throw error;
      const names = report.rows.flatMap(({ weight, nodes }) => [weight, ...nodes]);
      const meant = error.weights === undefined ? undefined : nearest(error.weights, names);
      throw new UsageError(
        `--assert: ${error.message}${meant === undefined ? '' : `; did you mean '${meant}'?`}`,
      );
    }
  });
}
