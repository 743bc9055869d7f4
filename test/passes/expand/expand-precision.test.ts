import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EPSILON, narrow, Tensor } from '../../../src/graph/index.js';
import { type ExpandOptions, expand } from '../../../src/passes/expand/expand.js';
import { rankRecipe } from '../../../src/passes/expand/rank-recipe.js';
import { Random } from '../../../src/runtime/random.js';
import { collapsed, expanded } from '../laws.js';
import { copyOf, type Layer, oneLayer } from '../models.js';

type Type = 'float32' | 'float16' | 'bfloat16';

/** Output and input channels of each element of a weight as it is stored. */
interface Form {
  readonly layer: Omit<Layer, 'weight'>;
  readonly shape: readonly number[];
  readonly channelsOf: (at: number) => readonly [output: number, input: number];
}

const FORMS = {
  MatMul: {
    layer: { opType: 'MatMul', x: [3, 7], y: [3, 6] },
    shape: [7, 6],
    channelsOf: (at) => [at % 6, Math.floor(at / 6)],
  },
  'Gemm with alpha': {
    layer: { opType: 'Gemm', x: [3, 8], y: [3, 8], attributes: { alpha: { float: 1e-3 } } },
    shape: [8, 8],
    channelsOf: (at) => [at % 8, Math.floor(at / 8)],
  },
  Conv: {
    layer: { opType: 'Conv', x: [1, 5, 6, 6], y: [1, 5, 4, 4] },
    shape: [5, 5, 3, 3],
    channelsOf: (at) => [Math.floor(at / 45), Math.floor(at / 9) % 5],
  },
  'grouped Conv': {
    layer: {
      opType: 'Conv',
      x: [1, 8, 6, 6],
      y: [1, 8, 6, 6],
      attributes: { group: { int: 2 }, pads: { ints: [1, 1, 1, 1] } },
    },
    shape: [8, 4, 3, 3],
    channelsOf: (at) => [Math.floor(at / 36), (Math.floor(at / 9) % 4) + 4 * Math.floor(at / 144)],
  },
  'grouped ConvTranspose': {
    layer: { opType: 'ConvTranspose', x: [1, 6, 4], y: [1, 8, 6], attributes: { group: { int: 2 } } },
    shape: [6, 4, 3],
    channelsOf: (at) => [(Math.floor(at / 3) % 4) + 4 * Math.floor(at / 36), Math.floor(at / 12)],
  },
} as const satisfies Record<string, Form>;

const WAYS = {
  plain: {},
  orthogonal: { init: 'orthogonal' },
  'three orthogonal layers': { init: 'orthogonal', depth: 3 },
  identity: { init: 'identity' },
  residual: { residual: true, residualIntervals: [1, 2], depth: 3 },
  'batch norm': { batchNorm: true },
  'two kernels': { kernelSizes: [[2, 2]], width: 4 },
  lossy: { width: 0.5, allowLossy: true },
} as const satisfies Record<string, ExpandOptions>;

/** What the layer may be off, times 3 for what random vectors tell, and the rounding of the weight that is compared. */
function limitOf(type: Type): number {
  return (3 * (type === 'float32' ? 64 : 8) + 1) * EPSILON[type];
}

function largestError(form: Form, of: ArrayLike<number>, made: ArrayLike<number>): number {
  const sums = [new Map<number, [number, number]>(), new Map<number, [number, number]>()] as const;
  for (let at = 0; at < of.length; at += 1) {
    for (const [side, channel] of form.channelsOf(at).entries()) {
      const [rest, all] = sums[side as 0 | 1].get(channel) ?? [0, 0];
      sums[side as 0 | 1].set(channel, [rest + (made[at]! - of[at]!) ** 2, all + of[at]! ** 2]);
    }
  }
  return Math.max(
    ...sums.flatMap((side) =>
      [...side.values()].map(([rest, all]) => (rest === 0 ? 0 : Math.sqrt(rest / all))),
    ),
  );
}

describe('of any type, operator and way, expand', () => {
  const cases = fc.record({
    form: fc.constantFrom(...(Object.keys(FORMS) as (keyof typeof FORMS)[])),
    way: fc.constantFrom(...(Object.keys(WAYS) as (keyof typeof WAYS)[])),
    type: fc.constantFrom<Type>('float32', 'float16', 'bfloat16'),
    by: fc.constantFrom('output', 'input', 'element', 'nothing'),
    range: fc.constantFrom(1, 2, 12),
    seed: fc.nat(1e6),
  });

  test('keeps every channel or leaves the layer alone, as its dry run says', async () => {
    let kept = 0;
    await fc.assert(
      fc.asyncProperty(cases, async ({ form: name, way, type, by, range: asked, seed }) => {
        const form: Form = FORMS[name];
        // Half of what float16 holds on each side of 1.
        const range = type === 'float16' ? Math.min(asked, 2) : asked;
        const random = new Random(seed);
        const sizes = Array.from({ length: 300 }, () => 10 ** (range * (2 * random.uniform() - 1)));
        const size = form.shape.reduce((product, dim) => product * dim, 1);
        const values = Float64Array.from({ length: size }, (_, at) => {
          const [output, input] = form.channelsOf(at);
          const own = { output, input, element: at % 300, nothing: -1 }[by];
          return random.normal() * (own < 0 ? 0.5 : sizes[own]!);
        });
        const weight = Tensor.of('w', type, form.shape, narrow(type, values));
        const model = oneLayer({ ...form.layer, weight } as Layer);
        const options: ExpandOptions = { width: 2, ...WAYS[way] };
        const [dry] = await (await copyOf(model)).apply(expand({ ...options, dryRun: true }));
        const { model: after, account } = await expanded(model, options);
        expect(dry.skipped).toEqual(account.skipped);
        expect(dry.rewritten.map(({ node }) => node)).toEqual(account.rewritten.map(({ node }) => node));
        const [site] = account.rewritten;
        if (site === undefined) return;
        kept += 1;
        if (site.error !== undefined) {
          expect(site.isPreserved).toBe(false);
          return;
        }
        const { model: back } = await collapsed(after, { chainsOnly: true });
        const made = back.graph.initializers.get('w')!.floats();
        expect(largestError(form, weight.floats(), made)).toBeLessThan(limitOf(type));
      }),
      { numRuns: 120, seed: 20261129 },
    );
    expect(kept).toBeGreaterThan(60);
  });

  test('keeps what is of one size in every type and way', async () => {
    for (const type of ['float32', 'float16', 'bfloat16'] as const) {
      for (const init of ['balanced', 'orthogonal', 'identity'] as const) {
        for (const depth of [2, 3, 8]) {
          const w = new Random(depth).fillNormal(new Float64Array(48 * 40));
          const weight = Tensor.of('w', type, [48, 40], narrow(type, w));
          const model = oneLayer({ opType: 'MatMul', x: [2, 48], y: [2, 40], weight });
          const { account } = await expanded(model, { init, depth, width: 1.25 });
          expect(account.rewritten[0]?.largestError).toBeLessThan(4 * EPSILON[type]);
        }
      }
    }
  });

  test('keeps weights of 1e-40', async () => {
    const w = new Random(4).fillNormal(new Float64Array(54), 1e-40);
    const weight = Tensor.of('w', 'float32', [6, 9], narrow('float32', w));
    const { account } = await expanded(oneLayer({ opType: 'MatMul', x: [2, 6], y: [2, 9], weight }), {
      width: 2,
    });
    expect(account.rewritten).toMatchObject([{ isPreserved: true, error: undefined }]);
  });

  test('keeps a small row of its own direction at the width of its rank', async () => {
    const random = new Random(6);
    const [rows, columns, rank] = [40, 48, 3];
    const [p, q] = [rows * rank, rank * columns].map((size) => random.fillNormal(new Float64Array(size)));
    const w = Float64Array.from({ length: rows * columns }, (_, at) => {
      const [i, j] = [Math.floor(at / columns), at % columns];
      if (i === 0) return 1e-9 * random.normal();
      return p!.subarray(i * rank, (i + 1) * rank).reduce((sum, x, l) => sum + x * q![l * columns + j]!, 0);
    });
    const weight = Tensor.of('w', 'float64', [rows, columns], w);
    const model = oneLayer({ opType: 'MatMul', x: [2, rows], y: [2, columns], weight });
    const { recipe } = await rankRecipe(model);
    const { account } = await expanded(model, { recipe });
    expect(account.rewritten).toMatchObject([{ rank: rank + 1, hidden: rank + 1, isPreserved: true }]);
    expect(account.rewritten[0]?.largestError).toBeLessThan(1e-10);
  });

  test.each([
    { type: 'float32', alpha: 1e-39, size: 1e37 },
    { type: 'float16', alpha: 1e-6, size: 1e4 },
  ] as const)('leaves a layer whose factors overflow $type', async ({ type, alpha, size }) => {
    const w = new Random(5).fillNormal(new Float64Array(36), size);
    const model = oneLayer({
      opType: 'Gemm',
      x: [2, 6],
      y: [2, 6],
      weight: Tensor.of('w', type, [6, 6], narrow(type, w)),
      attributes: { alpha: { float: alpha } },
    });
    const options: ExpandOptions = { init: 'identity', residual: true, residualIntervals: [1] };
    const { account } = await expanded(model, options);
    expect(account.skipped.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/out of the range of/),
    ]);
    const [dry] = await (await copyOf(model)).apply(expand({ ...options, dryRun: true }));
    expect(dry.skipped).toEqual(account.skipped);
  });
});
