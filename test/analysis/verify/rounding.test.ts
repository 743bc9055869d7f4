import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { verifyModels } from '../../../src/analysis/verify/verify.js';
import { type Model, type NodeSpec, Tensor } from '../../../src/graph/index.js';
import { expand } from '../../../src/passes/expand/expand.js';
import { Random } from '../../../src/runtime/index.js';
import { modelOf } from '../../runtime/helpers.js';

/** A network of many layers, of one width. */
interface Network {
  readonly seed: number;
  readonly layers: readonly ('tanh' | 'relu' | 'sigmoid' | 'normalized' | 'residual')[];
  readonly width: number;
  /** What the input counts beside a constant of size 1: where it is small, moving the input moves nothing. */
  readonly inputScale: number;
}

const networks: fc.Arbitrary<Network> = fc.record({
  seed: fc.nat(1000),
  layers: fc.array(fc.constantFrom('tanh', 'relu', 'sigmoid', 'normalized', 'residual'), {
    minLength: 6,
    maxLength: 30,
  }),
  width: fc.integer({ min: 4, max: 24 }),
  inputScale: fc.constantFrom(1e-5, 1),
});

type Change = (weights: Map<string, Float32Array>) => void;

/** What one layer multiplies: as one product, or as the sum of two that each take a part of the columns. */
type Product = (input: string, weight: string, output: string, width: number) => NodeSpec[];
const op = (opType: string, inputs: string[], output: string, attributes = {}): NodeSpec => ({
  opType,
  inputs,
  outputs: [output],
  attributes,
});
const whole: Product = (input, weight, output) => [op('MatMul', [input, weight], output)];
const halves: Product = (input, weight, output) => [
  {
    opType: 'Split',
    inputs: [input, 'parts'],
    outputs: [`${output}_x0`, `${output}_x1`],
    attributes: { axis: { int: -1 } },
  },
  {
    opType: 'Split',
    inputs: [weight, 'parts'],
    outputs: [`${output}_w0`, `${output}_w1`],
    attributes: { axis: { int: 0 } },
  },
  op('MatMul', [`${output}_x1`, `${output}_w1`], `${output}_1`),
  op('MatMul', [`${output}_x0`, `${output}_w0`], `${output}_0`),
  op('Add', [`${output}_1`, `${output}_0`], output),
];

function build(
  { seed, layers, width, inputScale }: Network,
  product = whole,
  change: Change = () => {},
): Model {
  const random = new Random(seed, 'network');
  const normal = (size: number, scale: number): Float32Array =>
    random.fillNormal(new Float32Array(size)).map((value) => value * scale);
  const weights = new Map<string, Float32Array>([
    ['offset', normal(width, 1)],
    ['scale', new Float32Array(width).fill(inputScale)],
    ['one', new Float32Array(width).fill(1)],
  ]);
  const nodes: NodeSpec[] = [op('Mul', ['x', 'scale'], 'scaled'), op('Add', ['scaled', 'offset'], 'h0')];
  for (const [index, kind] of [...layers, 'last' as const].entries()) {
    const [from, to] = [`h${index}`, `h${index + 1}`];
    weights.set(`w${index}`, normal(width * width, 1.4 / Math.sqrt(width)));
    weights.set(`b${index}`, normal(width, 0.3));
    nodes.push(...product(from, `w${index}`, `p${index}`, width));
    if (kind === 'last') nodes.push(op('Add', [`p${index}`, `b${index}`], 'y'));
    else nodes.push(op('Add', [`p${index}`, `b${index}`], `z${index}`));
    if (kind === 'tanh') nodes.push(op('Tanh', [`z${index}`], to));
    if (kind === 'relu') nodes.push(op('Relu', [`z${index}`], to));
    if (kind === 'sigmoid') nodes.push(op('Sigmoid', [`z${index}`], to));
    if (kind === 'normalized')
      nodes.push(op('LayerNormalization', [`z${index}`, 'one'], to, { axis: { int: -1 } }));
    if (kind === 'residual')
      nodes.push(op('Tanh', [`z${index}`], `t${index}`), op('Add', [`t${index}`, from], to));
  }
  change(weights);
  const half = Math.floor(width / 2);
  return modelOf(
    nodes,
    [['x', 'float32', [3, width]]],
    [['y', 'float32', [3, width]]],
    [
      ...[...weights].map(([name, data]) =>
        Tensor.of(name, 'float32', name.startsWith('w') ? [width, width] : [width], data),
      ),
      Tensor.of('parts', 'int64', [2], BigInt64Array.of(BigInt(half), BigInt(width - half))),
    ],
  );
}

describe('rounding in deep networks', () => {
  it('passes: sums in another order', async () => {
    await fc.assert(
      fc.asyncProperty(networks, async (network) => {
        const { outputs, passed } = await verifyModels(build(network), build(network, halves), {
          seed: network.seed,
        });
        expect({ passed, outputs }).toMatchObject({ passed: true });
      }),
      { numRuns: 25 },
    );
  });

  it('passes: layers that are chains', async () => {
    await fc.assert(
      fc.asyncProperty(networks, async (network) => {
        const chains = build(network);
        await chains.apply(expand({ depth: 3 }));
        const { outputs, passed } = await verifyModels(build(network), chains, { seed: network.seed });
        expect({ passed, outputs }).toMatchObject({ passed: true });
      }),
      { numRuns: 10 },
    );
  });

  const changes = {
    'a weight that is scaled':
      (index: number): Change =>
      (weights) => {
        const weight = weights.get(`w${index}`)!;
        weight.set(weight.map((value) => value * 1.001));
      },
    'a bias that is off':
      (index: number): Change =>
      (weights) => {
        const bias = weights.get(`b${index}`)!;
        bias.set(bias.map((value) => value * 1.01));
      },
    'a sign that is flipped':
      (index: number): Change =>
      (weights) => {
        const weight = weights.get(`w${index}`)!;
        weight[5] = -weight[5]!;
      },
  };
  it.each(Object.entries(changes))('does not hide %s', async (_, change) => {
    let visible = 0;
    await fc.assert(
      fc.asyncProperty(networks, fc.nat(), async (network, place) => {
        const at = network.layers.length - (place % 4);
        const { outputs, passed } = await verifyModels(build(network), build(network, halves, change(at)), {
          seed: network.seed,
        });
        // What moves the output by less is below the tolerance, as documented.
        if (outputs[0]!.relativeDifference <= 3e-4) return;
        visible += 1;
        expect({ passed, outputs }).toMatchObject({ passed: false });
      }),
      { numRuns: 15, seed: 7 },
    );
    expect(visible).toBeGreaterThan(3);
  });
});
