import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { embeddingReport } from '../../src/analysis/embeddings/embeddings.js';
import { parseAssertion } from '../../src/analysis/report/assertion.js';
import { checkAssertion } from '../../src/analysis/report/assertion-check.js';
import { compareRankReports } from '../../src/analysis/report/compare-reports.js';
import { type RankReportOptions, rankReport } from '../../src/analysis/report/rank-report.js';
import { type NodeSpec, readModel, Tensor } from '../../src/graph/index.js';
import {
  comparisonDocument,
  type RankDocumentOptions,
  rankDocument,
  render,
} from '../../src/report/index.js';
import { buildModel, floats } from '../support/build.js';
import { embeddingsOf } from './embedded.js';
import { metricsDocument, rankReportSchema } from './published.js';
import { schemaErrors } from './schema.js';

const FILES = [
  // The formatter decides on the width of the columns, and on the lines of the JSON.
  [
    'docs/metrics.md',
    metricsDocument,
    (text: string) => text.replace(/ +/g, ' ').replace(/-{3,}/g, '---') as unknown,
  ],
  [
    'docs/rank-report.schema.json',
    () => `${JSON.stringify(rankReportSchema(), undefined, 2)}\n`,
    (text: string) => JSON.parse(text) as unknown,
  ],
] as const;

describe('what is committed is what the descriptors say (UPDATE=1 rewrites it)', () => {
  test.each(FILES)('%s', (path, make, content) => {
    if (process.env.UPDATE) writeFileSync(path, make());
    expect(content(readFileSync(path, 'utf8'))).toEqual(content(make()));
  });
});

/** A model with weights that are whole, broken, empty and not looked at. */
function odd() {
  const use = (weight: string, input = 'x'): NodeSpec => ({
    opType: 'MatMul',
    name: `use_${weight}`,
    inputs: [input, weight],
    outputs: [`${weight}_y`],
  });
  return buildModel({
    inputs: [['x', 'float32', [1, 4]]],
    outputs: [],
    nodes: ['good', 'nan', 'empty', 'zero', 'wide', 'x'].map((name) => use(name)),
    initializers: [
      floats('good', [4, 8], (i) => Math.sin(i * i)),
      floats('nan', [4, 4], (i) => (i === 3 ? Number.NaN : i)),
      Tensor.of('empty', 'float32', [4, 0], new Float32Array(0)),
      Tensor.of('zero', 'float16', [4, 4], new Uint16Array(16)),
      floats('wide', [4, 400], (i) => Math.cos(i * i)),
    ],
  });
}

describe('JSON fits the published schema', async () => {
  // The committed file is this, says the test above.
  const schema = rankReportSchema();
  const full: RankReportOptions = { spectra: true, extras: true, randomized: true, rank: 2 };
  const models = { odd: odd(), shapes: await readModel('fixtures/shapes.onnx') };
  const cases: [string, RankReportOptions, RankDocumentOptions][] = [
    ['as it is', {}, {}],
    ['all', full, { verbose: true }],
    ['slices', { ...full, convView: 'slices' }, { verbose: true }],
    ['some', { extras: true }, { sort: { by: 'alpha' }, top: 3 }],
  ];

  test.each(cases)('%s', async (_, options, view) => {
    for (const model of Object.values(models)) {
      const report = await rankReport(model, options);
      const assertions = ['alpha(*) > 100', 'min < rows * stableRank(*)'].map((text) => ({
        text,
        ...checkAssertion(parseAssertion(text), report),
      }));
      for (const extended of [view, { ...view, assertions }]) {
        const json = JSON.parse(render(rankDocument(report, extended), { format: 'json' })) as unknown;
        expect(schemaErrors(schema, json)).toEqual([]);
        const comparison = comparisonDocument(compareRankReports(report, report), extended);
        expect(schemaErrors(schema, JSON.parse(render(comparison, { format: 'json' })))).toEqual([]);
      }
    }
  });

  test('with embeddings', async () => {
    const report = {
      ...(await rankReport(models.shapes)),
      embeddings: await embeddingReport(models.shapes, { seed: 0 }, { samples: 4 }),
    };
    const labelled = { ...report, embeddings: embeddingsOf(['conv.weight']), rank: 2 };
    for (const one of [report, labelled]) {
      const json = JSON.parse(render(rankDocument(one), { format: 'json' })) as unknown;
      expect(schemaErrors(schema, json)).toEqual([]);
      const comparison = comparisonDocument(compareRankReports(one, report));
      expect(schemaErrors(schema, JSON.parse(render(comparison, { format: 'json' })))).toEqual([]);
    }
  });

  test('what does not fit is found', async () => {
    const report = await rankReport(models.shapes);
    const json = JSON.parse(render(rankDocument(report), { format: 'json' })) as Record<string, unknown>;
    expect(schemaErrors(schema, { ...json, schemaVersion: 99 })).toEqual(['$.schemaVersion: not 1']);
    expect(schemaErrors(schema, { ...json, more: 1 })).toEqual(["$: 'more' is not described"]);
    const [weight] = json.weights as Record<string, unknown>[];
    expect(schemaErrors(schema, { ...json, weights: [{ ...weight, rows: 'x' }] })).toEqual([
      '$.weights[0].rows: "x" is not integer',
    ]);
  });
});
