import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareRankReports } from '../../src/analysis/report/compare-reports.js';
import type { RankReport, RankRow } from '../../src/analysis/report/rank-report.js';
import { spectrumMetrics } from '../../src/analysis/spectra/metrics.js';
import {
  collapseDocument,
  comparisonDocument,
  expandDocument,
  rankDocument,
  render,
  verifyDocument,
} from '../../src/report/index.js';
import { toCsv } from '../../src/report/text/csv.js';
import { type Column, grid } from '../../src/report/text/document.js';
import { tableLines } from '../../src/report/text/table.js';
import { formatNumber, formatSignificant, shorten, widthOf } from '../../src/report/text/text.js';

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

function report(rows: readonly RankRow[], model = 'model.onnx'): RankReport {
  const good = rows.filter((item) => item.metrics !== undefined);
  return {
    model,
    rows,
    notLookedAt: [
      {
        node: 'attention_0',
        op: 'MatMul',
        reason: "no input is a constant weight: 'q' is computed at run time",
      },
      {
        node: 'attention_1',
        op: 'MatMul',
        reason: "no input is a constant weight: 'k' is computed at run time",
      },
    ],
    total: {
      weights: rows.length,
      parameters: rows.reduce((sum, item) => sum + item.parameters, 0),
      effectiveRank: good.reduce((sum, item) => sum + item.metrics!.effectiveRank, 0),
      numericalRank: good.reduce((sum, item) => sum + item.metrics!.numericalRank, 0),
      fullRank: good.reduce((sum, item) => sum + item.rows, 0),
      effectiveRankRatio: 0.5,
      problems: rows.length - good.length,
    },
  };
}

const SMALL = report([row('fc1', [4, 2, 1], 2048), row('fc,2', [1, 1, 1e-9])]);

describe('rank report', () => {
  test('table, wide', () => {
    expect(render(rankDocument(SMALL), { width: 160 })).toMatchInlineSnapshot(`
      "weight     node        op      matrix  params  eff.rank  of max  entropy  stable rank  num.rank  rank 90%  rank 95%  rank 99%  cond.  ‖W‖₂  ‖W‖F  ‖W‖*
      ─────────  ──────────  ────  ────────  ──────  ────────  ──────  ───────  ───────────  ────────  ────────  ────────  ────────  ─────  ────  ────  ────
      fc1        /fc1/Gemm   Gemm  3 × 2048   6,144       2.6   86.7%     0.96         1.31         3         2         2         3   4.00  4.00  4.58  7.00
      fc,2       /fc,2/Gemm  Gemm    3 × 12      36       2.0   66.7%     0.69         2.00         2         2         2         2   ≥1e7  1.00  1.41  2.00
      ─────────  ──────────  ────  ────────  ──────  ────────  ──────  ───────  ───────────  ────────  ────────  ────────  ────────  ─────  ────  ────  ────
      2 weights                               6,180       4.6   50.0%                               5

      Skipped: 2 nodes
        2 MatMul: no input is a constant weight: '…' is computed at run time
        \`verbose: true\` lists each.
      "
    `);
  });

  test('table, 60 columns', () => {
    const text = render(rankDocument(SMALL), { width: 60 });
    expect(text).toMatchInlineSnapshot(`
      "weight       matrix  params  eff.rank  of max  num.rank
      ─────────  ────────  ──────  ────────  ──────  ────────
      fc1        3 × 2048   6,144       2.6   86.7%         3
      fc,2         3 × 12      36       2.0   66.7%         2
      ─────────  ────────  ──────  ────────  ──────  ────────
      2 weights             6,180       4.6   50.0%         5

      Skipped: 2 nodes
        2 MatMul: no input is a constant weight: '…' is computed
          at run time
        \`verbose: true\` lists each.
      More in a wider terminal or with \`format: 'csv'\`: node, op,
        entropy, stable rank, rank 90%, rank 95%, rank 99%, cond.,
        ‖W‖₂, ‖W‖F, ‖W‖*
      "
    `);
    for (const line of text.split('\n')) expect(widthOf(line)).toBeLessThanOrEqual(60);
  });

  test('csv', () => {
    expect(render(rankDocument(SMALL), { format: 'csv' }).replaceAll('\r', '␍')).toMatchInlineSnapshot(`
      "weight,nodes,op,shape,rows,columns,dataType,parameters,effectiveRank,effectiveRankRatio,spectralEntropy,stableRank,numericalRank,rank90,rank95,rank99,conditionNumber,spectralNorm,frobeniusNorm,nuclearNorm,conditionNumberIsLowerBound,numericalRankIsLowerBound,problem␍
      fc1,/fc1/Gemm,Gemm,3x2048,3,2048,float32,6144,2.6004900059896596,0.8668300019965532,0.9556998911125343,1.3125,3,2,2,3,4,4,4.58257569495584,7,false,false,␍
      "fc,2","/fc,2/Gemm",Gemm,3x12,3,12,float32,36,2.000000021723266,0.6666666739077552,0.6931471914215782,2,2,2,2,2,10000000,1,1.4142135623730951,2.000000001,true,false,␍
      "
    `);
  });

  test('markdown', () => {
    expect(
      render(rankDocument(SMALL), { format: 'md' }).split('\n').slice(0, 7).join('\n'),
    ).toMatchInlineSnapshot(`
      "# Rank report of model.onnx

      | weight | node | op | matrix | params | eff.rank | of max | entropy | stable rank | num.rank | rank 90% | rank 95% | rank 99% | cond. | ‖W‖₂ | ‖W‖F | ‖W‖\\* |
      | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
      | fc1 | /fc1/Gemm | Gemm | 3 × 2048 | 6,144 | 2.6 | 86.7% | 0.96 | 1.31 | 3 | 2 | 2 | 3 | 4.00 | 4.00 | 4.58 | 7.00 |
      | fc,2 | /fc,2/Gemm | Gemm | 3 × 12 | 36 | 2.0 | 66.7% | 0.69 | 2.00 | 2 | 2 | 2 | 2 | ≥1e7 | 1.00 | 1.41 | 2.00 |
      | **2 weights** |  |  |  | **6,180** | **4.6** | **50.0%** |  |  | **5** |  |  |  |  |  |  |  |"
    `);
  });

  test('json: a schema, no NaN, infinite as null', () => {
    const zero = row('zero', [0, 0, 0]);
    const bad: RankRow = { ...row('bad', [1]), metrics: undefined, problem: '1 NaN of 12 elements' };
    const json = JSON.parse(render(rankDocument(report([zero, bad])), { format: 'json' }));
    expect(json).toMatchObject({ kind: 'rank-report', schemaVersion: 1, model: 'model.onnx' });
    expect(json.weights[0].metrics).toMatchObject({ effectiveRank: 0, conditionNumber: null });
    expect(json.weights[1]).toMatchObject({ metrics: null, problem: '1 NaN of 12 elements' });
    expect(json.metrics.map((metric: { key: string }) => metric.key)).toContain('stableRank');
  });

  test('a weight without a spectrum says why', () => {
    const bad: RankRow = { ...row('bad', [1]), metrics: undefined, problem: '1 NaN of 12 elements' };
    const text = render(rankDocument(report([bad])));
    expect(text).toContain('bad: no spectrum, 1 NaN of 12 elements');
    expect(text).not.toMatch(/\bNaN\s+NaN\b/);
  });

  test('the legend explains each column', () => {
    const text = render(rankDocument(SMALL), { legend: true });
    expect(text).toContain('stable rank: sum s_i^2 / s1^2');
  });
});

test('comparison', () => {
  const after = report([row('fc1', [4, 1, 0.5], 2048), row('fc3', [1])], 'after.onnx');
  expect(render(comparisonDocument(compareRankReports(SMALL, after)), { width: 100 })).toMatchInlineSnapshot(`
    "weight    matrix  params  eff.rank         of max                 stable rank         rank 99%
    ──────  ────────  ──────  ───────────────  ─────────────────────  ──────────────────  ────────
    fc1     3 × 2048   6,144  2.6 → 2.1  -0.5  86.7% → 71.2%  -15.4%  1.31 → 1.08  -0.23  3 → 3  =

    model       weights  params  sum of eff.ranks  mean of max
    ──────────  ───────  ──────  ────────────────  ───────────
    model.onnx        2   6,180               4.6        86.6%
    after.onnx        2   6,156               3.1        71.3%

    Only in model.onnx: fc,2
    Only in after.onnx: fc3
    Skipped: 2 nodes
      2 MatMul: no input is a constant weight: '…' is computed at run time
      \`verbose: true\` lists each.
    More in a wider terminal or with \`format: 'csv'\`: node, op, num.rank, ‖W‖₂
    "
  `);
});

test('a comparison names the node of a weight that one model has twice', () => {
  const twice = report([row('emb', [2, 1]), { ...row('emb', [2, 1]), nodes: ['head'] }], 'untied.onnx');
  const text = render(comparisonDocument(compareRankReports(report([row('emb', [2, 1])]), twice)));
  expect(text).toContain('Only in untied.onnx: another emb (of head)');
});

const SITE = {
  node: 'fc1',
  op: 'Gemm',
  weight: 'fc1.weight',
  rows: 96,
  columns: 576,
  rank: 96,
  hidden: 96,
  depth: 3,
  init: 'balanced',
  isPreserved: true,
  residuals: 0,
  norms: 0,
  without: [],
  error: undefined,
  largestError: undefined,
  parametersBefore: 55296,
  parametersAfter: 73728,
  nodes: ['fc1/overparam/0', 'fc1/overparam/1', 'fc1/overparam/2'],
} as const;
const CHOSEN = { recipe: [], unmatched: [], inlined: [] };

test('expand and collapse', () => {
  const skipped = [{ node: 'deconv', op: 'ConvTranspose', reason: 'ConvTranspose is not expanded' }];
  expect(
    render(expandDocument({ ...CHOSEN, rewritten: [SITE], skipped }, { output: 'out.onnx' })),
  ).toMatchInlineSnapshot(`
    "node  op    weight        matrix  rank  layers  hidden  params before   after
    ────  ────  ──────────  ────────  ────  ──────  ──────  ─────────────  ──────
    fc1   Gemm  fc1.weight  96 × 576    96       3      96         55,296  73,728

    Skipped: 1 node
      ConvTranspose deconv: ConvTranspose is not expanded
    1 layer became 3; their weights grow from 55,296 to 73,728 parameters (×1.33).
    Written to out.onnx.
    "
  `);
  expect(
    render(expandDocument({ ...CHOSEN, rewritten: [{ ...SITE, rank: undefined }], skipped: [] })),
  ).toContain('Dry run: nothing was written.');
  const head = {
    ...SITE,
    node: 'head',
    hidden: 6000,
    parametersBefore: 720_000,
    parametersAfter: 72_720_000,
  };
  expect(render(expandDocument({ ...CHOSEN, rewritten: [SITE, head], skipped: [] }))).toContain(
    "'head' alone grows ×101, with 6,000 hidden units: `exclude` it, or give it a smaller width in a recipe.",
  );
  const chain = {
    node: 'fc1',
    op: 'Gemm',
    from: SITE.nodes,
    fromOps: ['Gemm', 'Gemm', 'Gemm'],
    by: 'metadata',
    nodesAfter: 1,
    parametersBefore: 73728,
    parametersAfter: 55296,
    multiplyAddsBefore: 73728,
    multiplyAddsAfter: 55296,
  } as const;
  expect(
    render(
      collapseDocument(
        { rewritten: [chain], skipped: [], inlined: ['block', 'block', 'head'] },
        { output: '-' },
      ),
    ),
  ).toMatchInlineSnapshot(`
    "node  op    nodes  found by  params before   after
    ────  ────  ─────  ────────  ─────────────  ──────
    fc1   Gemm      3  metadata         73,728  55,296

    Inlined 3 calls of the model's own functions: 'block', 'head'
    3 nodes became 1; their constants shrink from 73,728 to 55,296 parameters (×0.750).
    Written to standard output.
    "
  `);
  expect(render(collapseDocument({ rewritten: [], skipped: [], inlined: [] }, { output: 'x' }))).toContain(
    'Nothing to collapse. No neighbouring nodes are together one affine map. The output is the model unchanged.',
  );
  const unknown = [1, 2, 3].map((i) => ({
    node: `n${i}`,
    op: 'Mul',
    reason: `the rank of 'v${i}' is unknown`,
  }));
  expect(render(collapseDocument({ rewritten: [], skipped: unknown, inlined: [] }))).toContain(
    "Nothing to collapse. Not folded: the rank of 'v1' is unknown (and 2 more reasons).",
  );
});

test('verify', () => {
  const output = {
    name: 'logits',
    type: 'float32',
    maxDifference: 0.5,
    maxValue: 2,
    relativeDifference: 0.25,
    relativeRms: 0.01,
    nonFiniteDifferences: 1,
    differingFraction: 0.5,
    elements: 30,
    compared: 29,
    isConstant: false,
    tolerance: 1e-4,
    rounding: undefined,
    passed: false,
  } as const;
  const verification = {
    passed: false,
    verdict: 'different',
    samples: 3,
    outputs: [output],
    problems: ["the second model has no output 'aux'"],
  } as const;
  const beside = { ...verification, widened: ['a', 'b'] } as const;
  expect(render(verifyDocument(beside, { a: 'a.onnx', b: 'a.onnx' })).match(/in float32/g)).toHaveLength(1);
  expect(render(verifyDocument(beside, { a: 'a.onnx', b: 'b.onnx' })).match(/in float32/g)).toHaveLength(2);
  expect(render(verifyDocument(verification, { a: 'a.onnx', b: 'b.onnx' }))).toMatchInlineSnapshot(`
    "output  type     elements  max |Δ|  max |Δ| / max |a|  RMS Δ / RMS a  tolerance  verdict
    ──────  ───────  ────────  ───────  ─────────────────  ─────────────  ─────────  ───────
    logits  float32        30    0.500              0.250         0.0100       1e-4  DIFFERS

    the second model has no output 'aux'
    output 'logits': 1 element NaN or infinite in one model only
    Not the same function on 3 random inputs: 1 of 1 output past the tolerance.
    "
  `);
});

describe('tables', () => {
  const columns: Column<string>[] = [
    { key: 'name', header: 'name', shrink: 6, value: (text) => text },
    { key: 'size', header: 'size', align: 'right', priority: 1, value: (text) => text.length },
  ];

  test('no line is wider than asked, down to the columns that must stay', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ maxLength: 60 }), { minLength: 1 }),
        fc.integer({ min: 36, max: 90 }),
        (names, width) => {
          const { lines } = tableLines(grid(columns, names), { width, colour: false });
          expect(lines).toHaveLength(names.length + 2);
          for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(width);
        },
      ),
    );
  });

  test('names keep what tells them apart', () => {
    const names = ['/encoder/layer_0/attention/MatMul', '/encoder/layer_1/attention/MatMul'];
    const { lines } = tableLines(grid(columns, names), { width: 30, colour: false });
    expect(lines[2]).not.toBe(lines[3]);
  });

  test('escape sequences of a hostile file do not reach the terminal', () => {
    const { lines } = tableLines(grid(columns, ['\u001b[2Jgone\nnext']), { width: 80, colour: false });
    expect(lines[2]).toMatch(/^\ufffd\[2Jgone\ufffdnext/);
  });

  test('colour is only styling', () => {
    const plain = tableLines(grid(columns, ['a']), { width: 80, colour: false }).lines.join('\n');
    expect(plain).not.toContain('\u001b');
  });
});

test('csv quotes what RFC 4180 says, and reads back', () => {
  const columns: Column<string>[] = [{ key: 'text', header: 'text', value: (text) => text }];
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const csv = toCsv(grid(columns, [text]));
      const body = csv.slice('text\r\n'.length, -2);
      expect(body).not.toMatch(/[^\P{Cc}\t\r\n]/u);
      const read = body.startsWith('"') ? body.slice(1, -1).replaceAll('""', '"') : body;
      // What a spreadsheet may take for a formula stands behind an apostrophe.
      const shown = text.replace(/[^\P{Cc}\t\r\n]/gu, '\ufffd');
      expect(read).toBe(/^[=+\-@\p{Cc}]/u.test(text) ? `'${shown}` : shown);
      if (!body.startsWith('"')) expect(body).not.toMatch(/[",\r\n]/);
    }),
  );
});

test('numbers', () => {
  expect([Number.NaN, -Infinity].map(formatSignificant)).toEqual(['NaN', '-Infinity']);
  expect([0, 0.00012345, 0.0123456, 1, 12.345, 999.6, 1234, 12345, 1e7, -0.5].map(formatSignificant)).toEqual(
    ['0', '1.23e-4', '0.0123', '1.00', '12.3', '1000', '1234', '1.23e4', '1e7', '-0.500'],
  );
  expect(formatNumber(1234567, 'count')).toBe('1,234,567');
  expect(formatNumber(-1234.56, 'fixed1')).toBe('-1,234.6');
  expect(formatNumber(undefined, 'count')).toBe('–');
  expect(formatNumber(Number.POSITIVE_INFINITY, 'significant3')).toBe('∞');
  expect(shorten('features.denseblock4', 11)).toBe('featu…lock4');
});

test('no text in CSV is a formula or begins with a control character; numbers stay numbers', () => {
  const columns: Column<[string, number]>[] = [
    { key: 'name', header: 'name', definition: '', value: ([name]: [string, number]) => name },
    { key: 'value', header: 'value', definition: '', value: ([, value]) => value },
  ] as Column<[string, number]>[];
  const names = ['=1+1', '+1', '-1', '@x', '\u001b[2J', '\tx', 'a=b', '-'];
  const lines = toCsv(
    grid(
      columns,
      names.map((name): [string, number] => [name, -1.5]),
    ),
  ).split('\r\n');
  for (const [index, name] of names.entries())
    expect(lines[index + 1]).toBe(`${name === 'a=b' ? '' : "'"}${name.replace('\u001b', '\ufffd')},-1.5`);
});
