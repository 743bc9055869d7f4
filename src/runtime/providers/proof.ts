import { ModelError, Tensor } from '../../graph/index.js';
import { Random } from '../random.js';
import { openSession } from '../session/session.js';
import { buildModel } from '../session/small-model.js';
import type { Session } from '../types.js';
import type { ExecutionProvider } from './providers.js';

/** A matrix product that a provider did, and how fast. */
export interface Proof {
  /** The product is of two size x size matrices of float32. */
  readonly size: number;
  /** Milliseconds of the fastest of a few runs. */
  readonly time: number;
  /** 10^9 floating-point operations a second: 2 size³ / time. */
  readonly rate: number;
  /** Milliseconds to open the session of the first, small product. */
  readonly loadTime: number;
  /** Milliseconds of its first run, which compiles and allocates. */
  readonly firstTime: number;
  /** |sum - expected| / expected of the product's elements. */
  readonly error: number;
}

const SIZES = [512, 2048, 4096];
/** A product that takes this long says enough of the rate, in milliseconds. */
const ENOUGH = 20;
const RUNS = 4;
/** What float32 and TF32, which CUDA uses for products, stay well below. */
const TOLERANCE = 1e-2;

/**
 * Has a provider multiply two matrices, and checks the sum of the product. The matrices are on the device and only the
 * sum leaves it, so that the rate is that of the product. Larger ones follow while the product takes under 20 ms.
 *
 * @throws ProviderError where it does not load; ModelError where the CPU did the work or the sum is wrong
 * @example
 * const { rate } = await proveWork('webgpu'); // in GFLOP/s
 */
export async function proveWork(provider: ExecutionProvider, device?: number): Promise<Proof> {
  let proof: Proof | undefined;
  for (const size of SIZES) {
    const next = await multiply(provider, device, size);
    proof = {
      ...next,
      loadTime: proof?.loadTime ?? next.loadTime,
      firstTime: proof?.firstTime ?? next.firstTime,
    };
    if (next.time >= ENOUGH) break;
  }
  return proof as Proof;
}

async function multiply(
  provider: ExecutionProvider,
  device: number | undefined,
  size: number,
): Promise<Proof> {
  const random = new Random(size);
  const matrix = (): Float32Array => Float32Array.from({ length: size * size }, () => random.uniform());
  const [a, b] = [matrix(), matrix()];
  const model = buildModel({
    nodes: [
      { opType: 'MatMul', inputs: ['a', 'b'], outputs: ['product'], name: 'product' },
      { opType: 'ReduceSum', inputs: ['product'], outputs: ['sum'], attributes: { keepdims: { int: 0 } } },
    ],
    outputs: ['sum'],
    initializers: [Tensor.of('a', 'float32', [size, size], a), Tensor.of('b', 'float32', [size, size], b)],
    opset: 17,
  });
  const begin = performance.now();
  // Optimized, the product of two constants would be computed once, by the CPU.
  const options = { providers: provider, device, optimization: 'disabled', profile: true } as const;
  await using session = await openSession(model, options);
  const loadTime = performance.now() - begin;
  const times: number[] = [];
  let sum = 0;
  for (let run = 0; run < RUNS; run += 1) {
    const start = performance.now();
    sum = await runSum(session);
    times.push(performance.now() - start);
  }
  const { nodes } = await session.placement();
  const by = nodes.find(({ op }) => op === 'MatMul')?.provider;
  if (by !== provider) throw new ModelError(`the product was left to ${by ?? 'nobody'}`);
  const expected = sumOfProduct(a, b, size);
  const error = Math.abs(sum - expected) / expected;
  if (!(error <= TOLERANCE)) throw new ModelError(`its product is wrong: the sum is ${sum}, not ${expected}`);
  const time = Math.min(...times.slice(1));
  return { size, time, rate: (2 * size ** 3) / (time * 1e6), loadTime, firstTime: times[0] as number, error };
}

async function runSum(session: Session): Promise<number> {
  const { sum } = await session.run({});
  return Number(sum?.data[0]);
}

/** The sum of all elements of AB: the column sums of A times the row sums of B. */
function sumOfProduct(a: Float32Array, b: Float32Array, size: number): number {
  const columns = new Float64Array(size);
  const rows = new Float64Array(size);
  for (let row = 0; row < size; row += 1) {
    for (let column = 0; column < size; column += 1) {
      columns[column] = (columns[column] as number) + (a[row * size + column] as number);
      rows[row] = (rows[row] as number) + (b[row * size + column] as number);
    }
  }
  return columns.reduce((total, value, index) => total + value * (rows[index] as number), 0);
}
