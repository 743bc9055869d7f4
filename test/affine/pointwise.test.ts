import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { findRegions } from '../../src/affine/match/regions.js';
import { OPERATORS, operatorsWith } from '../../src/graph/index.js';
import { probeRegion } from '../../src/passes/collapse/probe.js';
import { Net } from './net.js';
import { expectFolds, foldCopy } from './support.js';

const IMAGE = [2, 6, 5, 7];

/** A constant of one number a channel of `net`'s images. */
const vector = (net: Net, name = 'v'): string =>
  net.constant(name, [6, 1, 1], () => 0.5 + net.random.uniform());

describe('regions without a weight become', () => {
  it.each<[string, (net: Net) => string, readonly string[]]>([
    [
      'a BatchNormalization, where one says the scale and shift in nodes behind it',
      (net) => net.node('Add', [net.node('Mul', [net.norm('x'), vector(net)]), vector(net)]),
      ['BatchNormalization'],
    ],
    ['a BatchNormalization of two', (net) => net.norm(net.norm('x')), ['BatchNormalization']],
    [
      'one, in front of a zero padding that they must not be folded into',
      (net) => net.conv(net.node('Mul', [net.norm('x'), vector(net)]), 6, { kernel: 3, pads: 1 }),
      ['BatchNormalization', 'Conv'],
    ],
    [
      'Mul and Add of longer chains',
      (net) => {
        const shifted = net.node('Sub', [net.node('Div', ['x', vector(net)]), vector(net)]);
        return net.node('Add', [net.node('Mul', [shifted, vector(net)]), vector(net)]);
      },
      ['Mul', 'Add'],
    ],
    [
      'Mul alone',
      (net) => net.node('Neg', [net.node('Div', [net.node('Mul', ['x', vector(net)]), vector(net)])]),
      ['Mul'],
    ],
    ['Add alone', (net) => net.node('Sub', [net.node('Add', ['x', vector(net)]), vector(net)]), ['Add']],
    [
      'one number, where each is',
      (net) => {
        const number = (): string => net.constant('n', [], () => 0.5 + net.random.uniform());
        return net.node('Mul', [net.node('Identity', [net.node('Mul', ['x', number()])]), number()]);
      },
      ['Mul'],
    ],
    [
      'branches of one value',
      (net) => net.add(net.node('Mul', ['x', vector(net)]), net.norm('x'), 'x'),
      ['BatchNormalization'],
    ],
    [
      'their channels where they are, between two Transposes',
      (net) => {
        const last = (): string => net.constant('v', [6], () => 0.5 + net.random.uniform());
        const turned = net.transpose('x', [0, 2, 3, 1]);
        return net.transpose(net.node('Add', [net.node('Mul', [turned, last()]), last()]), [0, 3, 1, 2]);
      },
      ['Mul', 'Add'],
    ],
  ])('%s', async (_what, make, ops) => {
    const net = new Net(IMAGE);
    const model = net.model(make(net));
    const { regions } = await expectFolds(model, ops, {}, 1e-6);
    for (const { target, before } of regions) {
      expect(target.cost.nodes).toBeLessThan(before.nodes);
      expect(target.cost.multiplyAdds).toBeLessThanOrEqual(before.multiplyAdds);
    }
    for (const region of findRegions(model).regions)
      expect((await probeRegion(region)).relativeDifference).toBeLessThan(1e-6);
  });

  it('of rows of a matrix, and of any rank', async () => {
    const net = new Net([3, 6]);
    const y = net.node('Div', [net.node('Mul', ['x', net.weight('a', [6], 1)]), net.weight('b', [1, 6], 1)]);
    await expectFolds(net.model(y), ['Mul']);
    const left = new Net([2, 3, 6, 5]);
    const column = (): string => left.weight('c', [6, 1], 1);
    await expectFolds(left.model(left.node('Mul', [left.node('Mul', ['x', column()]), column()])), ['Mul']);
  });

  it('nothing, where there is no less: Mul with Add, one node', async () => {
    const net = new Net(IMAGE);
    const y = net.node('Add', [net.node('Mul', ['x', vector(net)]), vector(net)]);
    const { regions, refused } = await foldCopy(net.model(y));
    expect({ regions, refused }).toEqual({ regions: [], refused: [] });
  });

  it('nothing, where a value between is read elsewhere', async () => {
    const net = new Net(IMAGE);
    const h = net.node('Mul', ['x', vector(net)]);
    const y = net.node('Mul', [net.node('Mul', [h, vector(net)]), net.node('Relu', [h])]);
    const { regions } = await foldCopy(net.model(y));
    expect(regions).toEqual([]);
  });
});

describe('regions without a weight behind an operator on each element', () => {
  const before = operatorsWith('elementwise').filter((op) => OPERATORS[op].shape === 'first');
  /** These take or make what is no float, or need a second operand. */
  const others = ['BitCast', 'BitwiseNot', 'Cast', 'CastLike', 'IsInf', 'IsNaN', 'Not', 'PRelu'];
  /** These are parts of regions themselves. */
  const affine = ['Dropout', 'Identity', 'Neg'];
  it.each(before.filter((op) => ![...others, ...affine].includes(op)))('%s fold', (op) => {
    const net = new Net(IMAGE);
    let y = net.node(op, ['x']);
    for (const step of ['Mul', 'Add', 'Mul', 'Add']) y = net.node(step, [y, vector(net)]);
    const { regions } = findRegions(net.model(y));
    expect(regions.map(({ target }) => target.operators)).toEqual([['Mul', 'Add']]);
  });
});

test('random chains and branches of numbers, vectors and normalizations, along any axis', async () => {
  let folded = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1_000_000),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 2, max: 7 }),
      async (seed, rank, steps) => {
        const net = new Net([3, 4, 5, 6].slice(0, rank), seed, 'float64');
        const { random } = net;
        const axis = random.integer(rank);
        const shapes = [
          [],
          net.shape.map((dim, at) => (at === axis ? dim : 1)).slice(random.integer(2) ? axis : 0),
        ];
        const constant = (): string =>
          net.constant('c', shapes[random.integer(2)] ?? [], () => 0.5 + random.uniform());
        let value = 'x';
        for (let i = 0; i < steps; i += 1) {
          const op =
            ['Mul', 'Div', 'Add', 'Sub', 'Neg', 'Identity', 'Norm', 'Branch'][random.integer(8)] ?? '';
          if (op === 'Neg' || op === 'Identity') value = net.node(op, [value]);
          else if (op === 'Norm') value = axis === 1 ? net.norm(value) : net.node('Mul', [value, constant()]);
          else if (op === 'Branch') value = net.add(net.node('Mul', [value, constant()]), value);
          else if (op === 'Sub' && random.integer(2)) value = net.node(op, [constant(), value], {}, 4);
          else value = net.node(op, [value, constant()]);
        }
        const { relativeDifference, regions, model } = await foldCopy(net.model(value));
        expect(relativeDifference).toBeLessThan(1e-12);
        for (const { target, before } of regions)
          expect(target.cost.multiplyAdds).toBeLessThanOrEqual(before.multiplyAdds);
        expect(findRegions(model).regions).toEqual([]);
        folded += regions.length;
      },
    ),
    { seed: 20_26, numRuns: 150 },
  );
  expect(folded).toBeGreaterThan(80);
}, 120_000);
