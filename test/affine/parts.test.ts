import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findRegions } from '../../src/affine/match/regions.js';
import { type Model, modelToBytes, readModel } from '../../src/graph/index.js';
import { collapse } from '../../src/passes/collapse/collapse.js';
import { foldRegion } from '../../src/passes/collapse/fold.js';
import { probeRegion } from '../../src/passes/collapse/probe.js';
import { openSession, type RuntimeTensor } from '../../src/runtime/index.js';
import { Net } from './net.js';
import { expectFolds, foldCopy } from './support.js';

const IMAGE = [2, 6, 4, 3];

const gemm = (net: Net, x: string, inputs: number, outputs: number): string =>
  net.node(
    'Gemm',
    [x, net.weight('fc', [outputs, inputs], inputs), net.weight('fc.bias', [outputs], 1)],
    { transB: { int: 1 } },
    outputs,
  );
const matmul = (net: Net, x: string, inputs: number, outputs: number): string =>
  net.node('MatMul', [x, net.weight('w', [inputs, outputs], inputs)], {}, outputs);

interface Case {
  readonly shape?: readonly number[];
  readonly build: (net: Net) => string;
  readonly ops: readonly string[];
  readonly symbolic?: 'batch';
}

/** ArcFace (Deng et al. 2019), the head of its ResNets: of an activation or sum, the embedding. */
const arcFace = (net: Net): string => {
  const activated = net.node('Relu', ['x']);
  const dropped = net.node('Dropout', [net.norm(activated)]);
  return net.norm(gemm(net, net.node('Flatten', [dropped]), 72, 5));
};

/** DCGAN (Radford et al. 2016), where a matrix makes the first image. */
const generator = (net: Net): string => net.norm(net.reshape(gemm(net, 'x', 5, 24), [-1, 2, 4, 3]), {}, 2);

const cases: Readonly<Record<string, Case>> = {
  'BatchNormalization, Dropout, Flatten, Gemm, BatchNormalization': {
    build: arcFace,
    ops: ['Relu', 'Flatten', 'Gemm'],
  },
  'the same of any batch': { build: arcFace, symbolic: 'batch', ops: ['Relu', 'Flatten', 'Gemm'] },
  'a Conv in front of it takes the normalization first': {
    build: (net) => gemm(net, net.node('Flatten', [net.norm(net.conv('x', 6))]), 72, 5),
    ops: ['Conv', 'Flatten', 'Gemm'],
  },
  'Reshape in place of Flatten, a factor and a summand': {
    build: (net) => {
      const scaled = net.node('Mul', ['x', net.weight('s', [6, 1, 1], 1)]);
      const moved = net.node('Add', [net.weight('b', [1, 6, 1, 1], 1), scaled]);
      return matmul(net, net.reshape(moved, [0, -1]), 72, 5);
    },
    ops: ['Flatten', 'Gemm'],
  },
  'a vector along the width, and a whole image of numbers': {
    build: (net) => {
      const scaled = net.node('Mul', ['x', net.weight('s', [3], 1)]);
      const moved = net.node('Sub', [scaled, net.weight('b', [6, 4, 3], 1)]);
      return gemm(net, net.node('Flatten', [moved]), 72, 5);
    },
    ops: ['Flatten', 'Gemm'],
  },
  'channels brought to the end before they are flattened, as converters from channels-last write it': {
    build: (net) => {
      const turned = net.transpose(net.norm(net.node('Relu', ['x'])), [0, 2, 3, 1]);
      return gemm(net, net.reshape(turned, [-1, 72]), 72, 5);
    },
    ops: ['Relu', 'Transpose', 'Flatten', 'Gemm'],
  },
  'scale and shift of an image of channels last in front of a Conv': {
    shape: [2, 7, 5, 3],
    build: (net) => {
      const scaled = net.node('Mul', ['x', net.constant('s', [3], () => 2)], {}, 3);
      const moved = net.node('Sub', [scaled, net.weight('b', [3], 1)], {}, 3);
      return net.conv(net.transpose(moved, [0, 3, 1, 2]), 4, { kernel: 3 });
    },
    ops: ['Transpose', 'Conv'],
  },
  'a Gemm whose result becomes an image, and its BatchNormalization': {
    shape: [2, 5],
    build: generator,
    ops: ['Gemm', 'Constant', 'Reshape'],
  },
  'heads of attention: a factor behind Reshape and Transpose': {
    shape: [2, 7, 8],
    build: (net) => {
      const q = net.node('Add', [matmul(net, 'x', 8, 12), net.weight('b', [12], 1)]);
      const heads = net.transpose(net.reshape(q, [0, 7, 3, 4]), [0, 2, 1, 3]);
      return net.node('Mul', [heads, net.constant('scale', [], () => 0.5)]);
    },
    ops: ['MatMul', 'Add', 'Constant', 'Reshape', 'Transpose'],
  },
};

describe('vectors meet parts of the channels', () => {
  it.each(Object.entries(cases))('%s', async (name, { shape = IMAGE, build, ops, symbolic }) => {
    const net = new Net(shape, name);
    const model = net.model(build(net), symbolic && { symbolic });
    const { regions } = findRegions(model);
    for (const region of regions) expect((await probeRegion(region)).relativeDifference).toBeLessThan(1e-5);
    await expectFolds(model, ops);
  });

  it('where height and width are symbolic: the columns of the weight tell', async () => {
    const net = new Net(IMAGE, 'symbolic');
    const model = net.model(arcFace(net), { symbolic: true });
    const folded = await readModel(modelToBytes(model));
    const { regions } = findRegions(folded);
    expect((await probeRegion(regions[0]!)).relativeDifference).toBeLessThan(1e-5);
    for (const region of regions) await foldRegion(region);
    expect(folded.graph.nodes.map(({ opType }) => opType)).toEqual(['Relu', 'Flatten', 'Gemm']);
    const x = { type: 'float32', shape: IMAGE, data: new Float32Array(144).map((_, i) => Math.sin(i * i)) };
    const [before, after] = [await run(model, x as RuntimeTensor), await run(folded, x as RuntimeTensor)];
    for (const [i, value] of before.entries()) expect(after[i]).toBeCloseTo(value, 4);
  });

  it('in float16 and float64, and before operator set 7', async () => {
    const half = new Net(IMAGE, 'half', 'float16');
    await expectFolds(half.model(arcFace(half)), ['Relu', 'Flatten', 'Gemm'], {}, 1e-2);
    const double = new Net(IMAGE, 'double', 'float64');
    const y = double.node('Mul', ['x', double.weight('s', [6, 1, 1], 1)]);
    const z = gemm(double, double.node('Flatten', [y]), 72, 5);
    await expectFolds(double.model(z), ['Flatten', 'Gemm'], {}, 1e-13);
  });

  it('not where a vector differs along the batch or what is no channel', async () => {
    const net = new Net([2, 3, 8]);
    const scaled = net.node('Mul', ['x', net.weight('s', [3, 1], 1)]);
    const y = net.reshape(matmul(net, net.reshape(scaled, [-1, 8]), 8, 6), [2, 3, 6]);
    await expectFolds(net.model(y), ['Mul', 'MatMul'], { force: true });
    const rows = new Net(IMAGE);
    const z = gemm(
      rows,
      rows.node('Flatten', [rows.node('Mul', ['x', rows.weight('s', [2, 1, 1, 1], 1)])]),
      72,
      5,
    );
    await expectFolds(rows.model(z), ['Mul', 'Flatten', 'Gemm'], { force: true });
  });

  it('not where what is made within is read elsewhere', async () => {
    const net = new Net(IMAGE);
    const flat = net.node('Flatten', [net.norm('x')]);
    const y = net.node('Add', [gemm(net, flat, 72, 72), net.node('Relu', [flat])]);
    await expectFolds(net.model(y), ['BatchNormalization', 'Flatten', 'Gemm', 'Relu', 'Add'], {
      force: true,
    });
  });

  it('random views, factors and summands around a matrix', async () => {
    let folded = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(1_000_000), fc.boolean(), async (seed, force) => {
        const net = new Net([2, 3, 4, 2], seed, 'float64');
        const result = await foldCopy(net.model(drawn(net)), { force });
        expect(result.relativeDifference).toBeLessThan(1e-12);
        folded += result.regions.length;
        if (seed % 4 > 0) return;
        await result.model.apply(collapse({ force }));
        const [again] = await result.model.apply(collapse({ force }));
        expect(again.rewritten).toEqual([]);
      }),
      { seed: 20_26, numRuns: Number(process.env.AFFINE_RUNS ?? 150) },
    );
    expect(folded).toBeGreaterThan(100);
  }, 300_000);
});

async function run(model: Model, x: RuntimeTensor): Promise<Float32Array> {
  await using session = await openSession(model, { threads: 1 });
  const [output] = Object.values(await session.run({ x }));
  return output!.data as Float32Array;
}

/** Factors, summands and views in any order, one or two matrices, and such again. */
function drawn(net: Net): string {
  const { random } = net;
  const pick = <T>(...choices: readonly T[]): T => choices[random.integer(choices.length)] as T;
  let value = 'x';
  let shape: readonly number[] = net.shape;
  const around = (count: number): void => {
    for (let i = 0; i < count; i += 1) {
      if (random.integer(2) === 0) {
        const kept = random.integer(shape.length);
        const own = shape.map((dim, axis) =>
          axis > 0 && (axis === kept || random.integer(4) === 0) ? dim : 1,
        );
        const dropped = own.slice(random.integer(2));
        const factor = net.constant('v', dropped, () => 0.5 + random.uniform());
        value = net.node(pick('Mul', 'Div', 'Add', 'Sub'), [value, factor]);
        continue;
      }
      const size = shape.slice(1).reduce((product, dim) => product * dim, 1);
      if (random.integer(2) === 0) {
        const order = shape.map((_, axis) => axis);
        const rest = order.slice(1).sort(() => random.uniform() - 0.5);
        const permutation = [0, ...rest];
        value = net.transpose(value, permutation);
        shape = permutation.map((axis) => shape[axis] as number);
      } else {
        const divisors = [1, 2, 3, 4, 6].filter((divisor) => size % divisor === 0);
        const first = pick(...divisors);
        const inner = pick(...[1, 2, 3, 4].filter((divisor) => (size / first) % divisor === 0));
        shape = [2, first, inner, size / first / inner];
        value = net.reshape(value, [pick(0, 2, -1), ...shape.slice(1)]);
      }
    }
  };
  const product = (): void => {
    const size = shape.slice(1).reduce((whole, dim) => whole * dim, 1);
    if (random.integer(4) > 0) {
      value = net.reshape(value, [pick(0, 2), -1]);
      shape = [2, size];
    }
    const width = shape.at(-1) as number;
    const made = pick(4, 6, 12);
    value = matmul(net, value, width, made);
    shape = [...shape.slice(0, -1), made];
  };
  around(random.integer(4));
  product();
  around(random.integer(4));
  if (random.integer(3) === 0) product();
  return value;
}
