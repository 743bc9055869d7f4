import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Arithmetic,
  type Assertion,
  AssertionSyntaxError,
  COMPARISONS,
  parseAssertion,
  printArithmetic,
  printAssertion,
  SIZE_NAMES,
} from '../../../src/analysis/report/assertion.js';
import {
  AssertionNameError,
  assertedMetrics,
  checkAssertion,
} from '../../../src/analysis/report/assertion-check.js';
import type { RankRow } from '../../../src/analysis/report/rank-report.js';
import { ALL_METRICS } from '../../../src/analysis/spectra/descriptors.js';
import { spectrumMetrics } from '../../../src/analysis/spectra/metrics.js';

const name = fc.oneof(
  fc.string({ minLength: 1, maxLength: 8 }),
  fc.constantFrom('conv1.weight', '*', 'lstm.W[*,i]', "it's", 'a)b', '(a)', '"q"', ' spaced '),
);

const arithmetic = fc.letrec<{ value: Arithmetic }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.record({ kind: fc.constant('number' as const), value: fc.double({ min: 0, max: 1e30, noNaN: true }) }),
    fc.record({ kind: fc.constant('size' as const), name: fc.constantFrom(...SIZE_NAMES) }),
    fc.constant({ kind: 'before' as const }),
    fc.record({
      kind: fc.constant('figure' as const),
      metric: fc.constantFrom(...ALL_METRICS.map(({ key }) => key)),
      weights: name,
    }),
    fc.record({ kind: fc.constant('negative' as const), of: tie('value') }),
    fc.record({
      kind: fc.constant('binary' as const),
      op: fc.constantFrom('+' as const, '-' as const, '*' as const, '/' as const),
      a: tie('value'),
      b: tie('value'),
    }),
  ),
})).value;

const assertion = fc.letrec<{ all: Assertion }>((tie) => ({
  all: fc.oneof(
    { maxDepth: 4 },
    fc.record({
      kind: fc.constant('compare' as const),
      op: fc.constantFrom(...COMPARISONS),
      a: arithmetic,
      b: arithmetic,
    }),
    fc.record({ kind: fc.constantFrom('and' as const, 'or' as const), a: tie('all'), b: tie('all') }),
  ),
})).all;

describe('the language', () => {
  test('parse(print(x)) = x', () => {
    fc.assert(
      fc.property(assertion, (one) => {
        // -0 prints as 0.
        expect(parseAssertion(printAssertion(one))).toEqual(JSON.parse(JSON.stringify(one)));
      }),
      { numRuns: 500 },
    );
  });

  test('print(parse(text)) is what it prints again, whatever the spaces', () => {
    fc.assert(
      fc.property(assertion, (one) => {
        const text = printAssertion(one);
        expect(printAssertion(parseAssertion(` ${text}\n`))).toBe(text);
      }),
    );
  });

  test('any text parses or is refused at a place within it', () => {
    const words = fc.constantFrom(
      '(',
      ')',
      '<',
      '>=',
      'alpha',
      'min',
      '1e3',
      ' ',
      'and',
      'or',
      '*',
      "'",
      '-',
      'x',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(words, { maxLength: 14 }).map((list) => list.join('')),
    );
    fc.assert(
      fc.property(text, (given) => {
        try {
          parseAssertion(given);
        } catch (error) {
          expect(error).toBeInstanceOf(AssertionSyntaxError);
          const { position } = error as AssertionSyntaxError;
          expect(position).toBeGreaterThanOrEqual(0);
          expect(position).toBeLessThanOrEqual(given.length);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('precedence', () => {
    const printed = (text: string) => printAssertion(parseAssertion(text));
    expect(printed('alpha(a)<1 or alpha(b)<2 and alpha(c)<3')).toBe(
      'alpha(a) < 1 or alpha(b) < 2 and alpha(c) < 3',
    );
    expect(printed('(alpha(a)<1 or alpha(b)<2) and alpha(c)<3')).toBe(
      '(alpha(a) < 1 or alpha(b) < 2) and alpha(c) < 3',
    );
    expect(printed('(alpha(a)+1)*2 < -(3-min)')).toBe('(alpha(a) + 1) * 2 < -(3 - min)');
    expect(printed('((alpha(a))) < (1 - (2 - 3))')).toBe('alpha(a) < 1 - (2 - 3)');
    expect(printed('8/(4/2) > D(x)')).toBe('8 / (4 / 2) > alphaDistance(x)');
  });

  test('deep nesting is refused, not a stack overflow', () => {
    for (const open of ['(', '-']) {
      expect(() => parseAssertion(`${open.repeat(100_000)}1`)).toThrow(AssertionSyntaxError);
    }
  });

  test.each([
    ['', 'expected a number, a metric or a size, found the end'],
    ['alpha(x)', 'expected a comparison'],
    ['alpha(x) <', 'found the end'],
    ['alpha < 3', "'alpha' needs a weight: alpha(name)"],
    ['alhpa(x) < 3', "no metric 'alhpa'"],
    ['min(x) < 3', "'min' takes no name"],
    ['depth < 3', "'depth' is neither a size"],
    ['alpha() < 3', 'expected the name of a weight'],
    ['alpha(x < 3', "expected ')'"],
    ["alpha('x) < 3", 'the quote is not closed'],
    ['alpha(x) < 3 alpha(y) > 2', "expected 'and', 'or' or the end, found 'alpha'"],
    ['(alpha(x) < 3', "expected ')', found the end"],
  ])('%j: %s', (text, message) => {
    expect(() => parseAssertion(text)).toThrow(message);
  });
});

function row(weight: string, values: readonly number[], columns = 12): RankRow {
  const rows = values.length;
  return {
    weight,
    nodes: [`/${weight}/Gemm`],
    ops: ['Gemm'],
    shape: [rows, columns],
    rows,
    columns,
    dataType: 'float32',
    parameters: rows * columns,
    metrics: spectrumMetrics(values, { rows, columns }),
    problem: undefined,
  };
}

describe('what it says of a report', () => {
  const bad: RankRow = { ...row('bad', [1, 1]), metrics: undefined, problem: '1 NaN of 24 elements' };
  const report = { rows: [row('fc1', [1, 1, 1, 1]), row('fc2', [4, 0, 0]), row('big.fc', [2, 2])] };
  const holds = (text: string) => checkAssertion(parseAssertion(text), report).passed;

  test.each([
    ['effectiveRank(fc1) == 4', true],
    ['effectiveRank(fc1) == min', true],
    ['effectiveRank(/fc1/Gemm) >= 4', true],
    ['effectiveRank(fc*) > 2', false],
    ['effectiveRank(fc*) >= 1', true],
    ['effectiveRank(fc2) < 0.5*min', true],
    ['effectiveRank(*) <= min', true],
    ['spectralNorm(*) * 2 == 8 or spectralNorm(*) > 0', true],
    ['spectralNorm(fc1) < spectralNorm(fc2) and spectralNorm(big.*) == 2', true],
    ['spectralNorm(fc1) < spectralNorm(*)', false],
    ['columns == effectiveRank(fc1) * 3', true],
    ['-spectralNorm(fc2) + 2 * max == 20', true],
    ['rows - 1 == effectiveRank(big.fc)', false],
    ['conditionNumber(fc2) > 1e6', true],
    ['conditionNumber(fc2) < 1e8', false],
    ['1e6 < conditionNumber(fc2)', true],
    ['spectralNorm(fc1) / 0 > 1', true],
    ['0 * conditionNumber(fc1) == 0', true],
  ])('%s: %s', (text, expected) => {
    expect(holds(text)).toBe(expected);
  });

  test.each([
    ['effectiveRank(*) > 0.9*before', false],
    ['effectiveRank(fc1) > 0.9*before', true],
    ['effectiveRank(fc1) == before', true],
    ['spectralNorm(fc2) == 2 * before', true],
    ['before - 1 < effectiveRank(fc*)', false],
    ['spectralNorm(fc1) - before == 0 and spectralNorm(fc2) - before == 2', true],
  ])('beside a baseline: %s: %s', (text, expected) => {
    const baseline = { rows: [row('fc1', [1, 1, 1, 1]), row('fc2', [2, 2, 0])] };
    expect(checkAssertion(parseAssertion(text), report, baseline).passed).toBe(expected);
  });

  test('a weight that the baseline does not have does not hold, and without a baseline there is no before', () => {
    const assertion = parseAssertion('effectiveRank(*) > 0.9*before');
    const { failures } = checkAssertion(assertion, report, { rows: report.rows.slice(0, 2) });
    expect(failures).toEqual([
      { weights: ['big.fc'], a: 2, b: undefined, op: '>', reason: "the baseline has no weight 'big.fc'" },
    ]);
    expect(() => checkAssertion(assertion, report)).toThrow(/needs a baseline/);
    expect(() => parseAssertion('before(fc1) > 1')).toThrow(/takes no name/);
  });

  test('each weight that fails is named, with its figures', () => {
    const result = checkAssertion(parseAssertion('effectiveRank(fc*) > 0.5 * min'), report);
    expect(result).toEqual({
      passed: false,
      checked: 2,
      failures: [{ weights: ['fc2'], a: 1, b: 1.5, op: '>', reason: undefined }],
    });
  });

  test('a figure that does not exist does not hold, and says why', () => {
    const { failures } = checkAssertion(parseAssertion('alpha(bad) > 0'), { rows: [bad] });
    expect(failures).toMatchObject([{ weights: ['bad'], reason: 'no alpha: 1 NaN of 24 elements' }]);
    expect(checkAssertion(parseAssertion('alpha(fc1) != 0'), report).failures[0]!.reason).toContain(
      'not asked',
    );
    expect(checkAssertion(parseAssertion('conditionNumber(fc2) < 9'), report).failures[0]!.reason).toContain(
      'only known to be at least',
    );
  });

  test('names that match nothing, and comparisons without a name, are refused', () => {
    expect(() => holds('alpha(fc3) > 1')).toThrow(new AssertionNameError("no weight matches 'fc3'", 'fc3'));
    expect(() => holds('min > 1')).toThrow('names no weight');
  });

  test('negation and de Morgan: exactly one of < and >= holds for one weight', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 5, noNaN: true }),
        fc.constantFrom('fc1', 'fc2'),
        (limit, weight) => {
          const text = printArithmetic({ kind: 'number', value: limit });
          expect(holds(`stableRank(${weight}) < ${text}`)).toBe(!holds(`stableRank(${weight}) >= ${text}`));
        },
      ),
    );
  });

  test('which metrics it needs', () => {
    const keys = assertedMetrics(parseAssertion('alpha(x) > -xMin(y) and 1 < D(z)')).map(({ key }) => key);
    expect(keys).toEqual(['alpha', 'xMin', 'alphaDistance']);
  });
});
