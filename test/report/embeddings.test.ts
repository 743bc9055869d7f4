import { expect, test } from 'vitest';
import { compareRankReports } from '../../src/analysis/report/compare-reports.js';
import { comparisonDocument, type Format, rankDocument, render } from '../../src/report/index.js';
import { embeddingsOf } from './embedded.js';
import { reportOf, rowOf } from './html/spectra.js';

const WEIGHTS = ['first', 'second'];
const rows = WEIGHTS.map((name) => rowOf(name, 8, 12));
const labelled = reportOf(rows, { embeddings: embeddingsOf(WEIGHTS), rank: 2 });
const random = reportOf(rows, { embeddings: embeddingsOf(WEIGHTS, false) });
const text = (report: typeof labelled, format: Format): string => render(rankDocument(report), { format });

test('a table of its own, and why there is no figure', () => {
  expect(text(labelled, 'table').split('\n\n').slice(1).join('\n\n')).toMatchInlineSnapshot(`
    "Embeddings: outputs of the layers, 64 samples of 2 classes
    node            value          op    features  Gram eff.rank  of max  Gram entropy  centred  part.ratio  variance  cosine entropy  cosine eff.rank  RankMe  tunnel rank  alpha   TCV  TCV of all     NC1  LiDAR  ‖W-W₂‖/‖W‖
    ──────────────  ─────────────  ────  ────────  ─────────────  ──────  ────────────  ───────  ──────────  ────────  ──────────────  ───────────────  ──────  ───────────  ─────  ────  ──────────  ──────  ─────  ──────────
    node of first   first/output   Conv       256            1.5    2.3%          0.41      2.5         0.8      49.0            1.25              3.5     4.5            2   0.75  12.3       25.0%   0.125    3.5           –
    node of second  second/output  Conv       256            2.5    3.9%          0.92      3.5         1.3      49.0            1.50              4.5     5.5            3   0.75  12.3       25.0%  0.0313    3.5           –
    lost            lost           Conv       256              –       –             –        –           –         –               –                –       –            –      –     –           –       –      –           –

    The smallest of 2 classes has 3 samples of 64: little to tell its spread from; a greater \`samples\` takes more.
    Without an embedding: 2 nodes
      Conv lost: it is empty
      MatMul inner: it is in a function
    "
  `);
  expect(text(random, 'table')).toContain('64 samples of random inputs');
  expect(text(random, 'table')).not.toContain('NC1');
});

test('JSON has null for what does not exist, CSV a column each beside the weights', () => {
  const { embeddings } = JSON.parse(text(labelled, 'json')) as {
    embeddings: { values: { metrics: unknown }[] };
  };
  expect(embeddings).toMatchObject({ samples: 64, classes: 2, isRandom: false, of: 'outputs' });
  expect(embeddings.values.map(({ metrics }) => metrics === null)).toEqual([false, false, true]);
  const [head = '', first = ''] = text(labelled, 'csv').split('\r\n');
  const at = head.split(',').indexOf('nc1');
  expect(at).toBeGreaterThan(0);
  expect(first.split(',')[at]).toBe('0.125');
  expect(text(random, 'csv').split('\r\n')[0]).not.toContain('nc1');
});

test('Markdown has a heading, and what the columns mean', () => {
  const markdown = text(labelled, 'md');
  expect(markdown).toContain('## Embeddings: outputs of the layers, 64 samples of 2 classes');
  expect(markdown).toContain('- **NC1**: within-class variability');
});

test('of two models, a table each', () => {
  const document = comparisonDocument(
    compareRankReports({ ...labelled, model: 'a.onnx' }, { ...random, model: 'b.onnx' }),
  );
  const table = render(document);
  expect(table).toContain('a.onnx: Embeddings: outputs of the layers, 64 samples of 2 classes');
  expect(table).toContain('b.onnx: Embeddings: outputs of the layers, 64 samples of random inputs');
  const json = JSON.parse(render(document, { format: 'json' })) as Record<string, { embeddings: unknown }>;
  expect(json.a?.embeddings).toBeDefined();
  expect(json.b?.embeddings).toBeDefined();
});
