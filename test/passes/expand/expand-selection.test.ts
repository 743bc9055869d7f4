import { describe, expect, test, vi } from 'vitest';
import { type ExpandOptions, expand, parseRecipe } from '../../../src/passes/expand/expand.js';
import { expanded, expectSameFunction } from '../laws.js';
import { stack, weight } from '../models.js';

const model = stack(
  [1, 4, 6, 6],
  [
    { opType: 'Conv', name: 'layer1/conv', inputs: ['x', 'a'], outputs: ['h1'] },
    { opType: 'Conv', name: 'layer2/conv', inputs: ['h1', 'b'], outputs: ['h2'] },
    { opType: 'Flatten', name: 'flat', inputs: ['h2'], outputs: ['h3'] },
    { opType: 'Gemm', name: 'fc[1]', inputs: ['h3', 'c'], outputs: ['h4'] },
    { opType: 'MatMul', name: 'head', inputs: ['h4', 'd'], outputs: ['h5'] },
    { opType: 'MatMul', name: 'dynamic', inputs: ['h5', 'h5'], outputs: ['y'] },
  ],
  [weight('a', [6, 4, 3, 3]), weight('b', [2, 6, 1, 1]), weight('c', [32, 5]), weight('d', [5, 1])],
);

/** The nodes that became chains, and those that were not selected. */
async function chosen(options: ExpandOptions): Promise<[string[], string[]]> {
  const { account } = await expanded(model, options);
  const left = account.skipped.filter(({ reason }) => reason === 'not selected');
  return [account.rewritten.map(({ node }) => node), left.map(({ node }) => node).sort()];
}

describe('selection', () => {
  test.each<[ExpandOptions, string[]]>([
    [{}, ['layer1/conv', 'layer2/conv', 'fc[1]', 'head']],
    [{ only: ['layer*'] }, ['layer1/conv', 'layer2/conv']],
    [{ only: ['layer*', 'h?ad'] }, ['layer1/conv', 'layer2/conv', 'head']],
    [{ only: ['layer[!1]*'] }, ['layer2/conv']],
    [{ exclude: ['layer*'] }, ['fc[1]', 'head']],
    [{ only: ['layer*'], exclude: ['*1*'] }, ['layer2/conv']],
    [{ only: ['fc[1]'] }, ['fc[1]']],
    [{ only: ['fc\\[*'] }, ['fc[1]']],
    [{ ops: ['Conv', 'MatMul'] }, ['layer1/conv', 'layer2/conv', 'head']],
    [{ minSize: 160 }, ['layer1/conv', 'fc[1]']],
    [{ minSize: 161 }, ['layer1/conv']],
    [
      {
        recipe: [
          { match: '*conv', skip: true },
          { match: 'layer1*', depth: 5 },
        ],
      },
      ['fc[1]', 'head'],
    ],
    [{ recipe: [{ match: '*', op: 'Conv', skip: true }] }, ['fc[1]', 'head']],
  ])('%j', async (options, nodes) => {
    const [rewritten] = await chosen(options);
    expect(rewritten).toEqual(nodes);
  });

  test('what is left out says so, sites and others', async () => {
    expect((await chosen({ ops: ['Gemm'] }))[1]).toEqual(['dynamic', 'head', 'layer1/conv', 'layer2/conv']);
    expect((await chosen({ only: ['head'] }))[1]).toEqual(['dynamic', 'fc[1]', 'layer1/conv', 'layer2/conv']);
  });

  test('patterns that match nothing are named', async () => {
    const { account } = await expanded(model, {
      only: ['head', 'haed'],
      exclude: ['x*'],
      recipe: [{ match: 'head', depth: 3 }, { match: 'nosuch' }],
    });
    expect(account.unmatched).toEqual(['haed', 'x*', 'nosuch']);
  });
});

describe('recipe', () => {
  test('the first rule that matches holds, and what it leaves open the options say', async () => {
    const { model: after, account } = await expanded(model, {
      depth: 4,
      width: 2,
      recipe: [
        { match: 'layer1*', depth: 2, init: 'identity' },
        { match: '*conv', width: 3 },
        { match: 'head', depth: 3 },
      ],
    });
    expect(
      Object.fromEntries(account.rewritten.map((site) => [site.node, [site.depth, site.hidden, site.init]])),
    ).toEqual({
      'layer1/conv': [2, 12, 'identity'],
      'layer2/conv': [4, 6, 'balanced'],
      'fc[1]': [4, 10, 'balanced'],
      head: [3, 2, 'balanced'],
    });
    await expectSameFunction(model, after);
  });

  test('what a run says of itself, given back, does the same', async () => {
    for (const options of [
      { depth: 3, only: ['layer*', 'fc*'], init: 'orthogonal' },
      {
        width: 0.4,
        allowLossy: true,
        noise: 0.1,
        recipe: [{ match: 'head', init: 'fresh:xavier', gain: 2 }],
      },
      { kernelSizes: [[2, 2]], width: 4, minSize: 100, init: 'identity' },
      {
        depth: 3,
        residual: true,
        residualIntervals: [1, -1],
        residualMode: 'learn',
        recipe: [{ match: 'fc*', batchNorm: true, residual: false }],
      },
    ] as const satisfies ExpandOptions[]) {
      const dry = await expanded(model, { ...options, dryRun: true });
      const recipe = parseRecipe(JSON.parse(JSON.stringify({ kind: 'expand', ...dry.account })));
      const first = await expanded(model, options);
      const again = await expanded(model, { recipe });
      expect(again.account.rewritten).toEqual(first.account.rewritten);
      for (const [name, tensor] of first.model.graph.initializers) {
        expect(again.model.graph.initializers.get(name)!.floats(), name).toEqual(tensor.floats());
      }
    }
  });

  test.each<[unknown, RegExp]>([
    ['depth 3', /^a recipe must be a list of rules, .* is 'depth 3'$/],
    [{ rules: [] }, /^a recipe must be a list of rules/],
    [[3], /^\[0\] must be an object such as .*, is 3$/],
    [[{ depth: 3 }], /^\[0\]\.match is missing/],
    [[{ match: '' }], /^\[0\]\.match must be a pattern, is ''$/],
    [[{ match: 7 }], /^\[0\]\.match must be a string, is 7$/],
    [
      [{ match: 'a' }, { match: 'b', depth: '3' }],
      /^\[1\]\.depth must be an integer ≥ 1 and ≤ 1000, is '3'$/,
    ],
    [[{ match: 'a', depth: 1.5 }], /^\[0\]\.depth must be an integer ≥ 1 and ≤ 1000, is 1.5/],
    [[{ match: 'a', width: 0 }], /^\[0\]\.width must be a number > 0, is 0$/],
    [[{ match: 'a', gain: null }], /^\[0\]\.gain must be a number > 0, is null$/],
    [[{ match: 'a', noise: -1 }], /^\[0\]\.noise must be a number ≥ 0, is -1$/],
    [[{ match: 'a', init: 'zero' }], /^\[0\]\.init must be one of balanced, identity, .*, is 'zero'$/],
    [[{ match: 'a', op: 'Relu' }], /^\[0\]\.op must be one of Gemm, MatMul, Conv, ConvTranspose, is 'Relu'$/],
    [[{ match: 'a', skip: 'yes' }], /^\[0\]\.skip must be true or false, is 'yes'$/],
    [[{ match: 'a', kernelSizes: [3, 0] }], /^\[0\]\.kernelSizes\[1\] must be an integer ≥ 1, is 0$/],
    [
      [{ match: 'a', kernelSizes: [[3, 3], [5]] }],
      /^\[0\]\.kernelSizes has two lists that compose to a kernel of 5$/,
    ],
    [[{ match: 'a', residual: 1 }], /^\[0\]\.residual must be true or false, is 1$/],
    [
      [{ match: 'a', residualIntervals: [2, 0] }],
      /^\[0\]\.residualIntervals\[1\] must be an integer ≥ 1, or -1 for the whole chain, is 0$/,
    ],
    [[{ match: 'a', residualMode: 'all' }], /^\[0\]\.residualMode must be one of none, learn, is 'all'$/],
    [[{ match: 'a', deepth: 3 }], /^\[0\]\.deepth is not a setting; there are match, op, skip, depth, /],
    [{ recipe: [{ match: 'a', depth: 0 }] }, /^recipe\[0\]\.depth must be/],
  ])('%j is refused, with the place', (value, message) => {
    expect(() => parseRecipe(value)).toThrow(RangeError);
    expect(() => parseRecipe(value)).toThrow(message);
  });
});

test('options out of range are refused early', () => {
  const cases: [ExpandOptions, RegExp][] = [
    [{ minSize: -1 }, /minSize/],
    [{ only: [''] }, /only must be a pattern of names such as 'layer1.\*', is ''/],
    [{ ops: ['Relu' as 'Gemm'] }, /ops must be some of Gemm, MatMul/],
    [{ gain: 2 }, /gain goes with a fresh init/],
    [{ gain: -1, init: 'fresh:normal' }, /gain must be a number > 0, is -1/],
    [{ noise: -1 }, /noise must be/],
    [{ noise: 0.1, init: 'fresh:normal' }, /noise goes with/],
    [
      { residual: true, residualIntervals: [] },
      /residualIntervals must be an integer ≥ 1, or -1 for the whole chain, is \[\]/,
    ],
    [
      { residual: true, residualIntervals: [0.5] },
      /residualIntervals\[0\] must be an integer ≥ 1, or -1 for the whole chain, is 0.5/,
    ],
    [{ residual: true, residualMode: 'all' as 'learn' }, /residualMode must be one of none, learn/],
    [{ residualIntervals: [1] }, /residualIntervals goes with `residual`/],
    [{ residualMode: 'learn' }, /residualMode goes with `residual`/],
    [{ kernelSizes: [[3, 3], [5]] }, /two lists/],
    [{ kernelSizes: [[]] }, /kernelSizes\[0\] must be a list of integers/],
    [{ kernelSizes: [Array(9).fill(3)] }, /at most|may have/],
    [{ recipe: [{ match: 'a', depth: 0 }] }, /recipe\[0\]\.depth/],
  ];
  for (const [options, message] of cases) expect(() => expand(options)).toThrow(message);
});

test('a factor that takes more memory than the limit is not made; the width that does is named', async () => {
  const vocabulary = stack(
    [1, 2],
    [{ opType: 'MatMul', name: 'head', inputs: ['x', 'w'], outputs: ['y'] }],
    [weight('w', [2, 40_000])],
  );
  const { account } = await expanded(vocabulary, {});
  expect(account.rewritten).toEqual([]);
  expect(account.skipped[0]?.reason).toBe(
    'layer 2 of its chain would take 5.96 GiB of memory, more than the limit of 1 GiB; `setMemoryLimit` raises it; `width: 0.0001` is enough for any weight of its shape',
  );
  const narrow = await expanded(vocabulary, { width: 0.0001 });
  expect(narrow.account.rewritten).toMatchObject([{ hidden: 4, rank: 2 }]);
  await expectSameFunction(vocabulary, narrow.model);
});

test('a weight behind a long chain of constant nodes: looked through once, whatever its length', async () => {
  const looksOf = async (length: number): Promise<number> => {
    const negations = Array.from({ length }, (_, i) => ({
      opType: 'Neg',
      name: `neg${i}`,
      inputs: [i === 0 ? 'w' : `w${i}`],
      outputs: [`w${i + 1}`],
    }));
    const long = stack(
      [1, 4],
      [...negations, { opType: 'MatMul', name: 'layer', inputs: ['x', `w${length}`], outputs: ['y'] }],
      [weight('w', [4, 4])],
    );
    const looks = vi.spyOn(long.graph, 'uses');
    const [account] = await long.apply(expand());
    expect(account.rewritten).toMatchObject([{ node: 'layer', parametersBefore: 16, parametersAfter: 32 }]);
    expect([...long.graph.initializers.keys()]).not.toContain('w');
    return looks.mock.calls.length;
  };
  const [one, two] = [await looksOf(150), await looksOf(300)];
  expect(one).toBeGreaterThan(150);
  expect(two).toBeLessThan(2.2 * one);
});
