import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { findLinearSites } from '../../../src/affine/linear-sites.js';
import {
  type ConvOperatorOptions,
  type ConvWeight,
  convOperatorSpectrum,
  convSlices,
  sliceElements,
} from '../../../src/analysis/spectra/conv-spectrum.js';
import { readModel } from '../../../src/graph/index.js';
import { KernelPool, singularValues } from '../../../src/linalg/kernels/index.js';
import { Random } from '../../../src/runtime/random.js';
import { HEAVY_TAIL } from '../../reference/heavy-tail.js';

const pool = new KernelPool({ size: 1 });
afterAll(() => pool.close());

const product = (values: readonly number[]): number => values.reduce((total, value) => total * value, 1);

function positions(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>(
    (all, extent) => all.flatMap((at) => Array.from({ length: extent }, (_, i) => [...at, i])),
    [[]],
  );
}

function randomWeight(shape: readonly number[], groups = 1, seed = 0): ConvWeight {
  return { data: new Random(seed).fillNormal(new Float64Array(product(shape))), shape, groups };
}

/** The operator as a matrix: outputs x inputs, by the definition of ONNX's Conv with periodic padding. */
function dense(
  weight: ConvWeight,
  options: ConvOperatorOptions,
): { matrix: Float64Array; m: number; n: number } {
  const { data, shape, groups = 1 } = weight;
  const [out, perGroup, ...kernel] = shape as [number, number, ...number[]];
  const all = (value: number | readonly number[] = 1): number[] =>
    typeof value === 'object' ? [...value] : kernel.map(() => value);
  const [size, strides, dilations] = [all(options.size), all(options.strides), all(options.dilations)];
  const outputs = positions(size.map((extent, axis) => extent / strides[axis]!));
  const [m, n] = [out * outputs.length, perGroup * groups * product(size)];
  const matrix = new Float64Array(m * n);
  for (let o = 0; o < out; o += 1) {
    for (const [p, position] of outputs.entries()) {
      for (let c = 0; c < perGroup; c += 1) {
        for (const [t, tap] of positions(kernel).entries()) {
          const channel = Math.floor(o / (out / groups)) * perGroup + c;
          const from = size.reduce(
            (index, extent, axis) =>
              index * extent + ((position[axis]! * strides[axis]! + tap[axis]! * dilations[axis]!) % extent),
            0,
          );
          const index = (o * outputs.length + p) * n + channel * product(size) + from;
          matrix[index]! += data[(o * perGroup + c) * product(kernel) + t]!;
        }
      }
    }
  }
  return { matrix, m, n };
}

async function expectDense(weight: ConvWeight, options: ConvOperatorOptions): Promise<void> {
  const { values, rows, columns } = await convOperatorSpectrum(weight, { ...options, pool });
  const { matrix, m, n } = dense(weight, options);
  expect([rows, columns]).toEqual([m, n]);
  const expected = singularValues(matrix, m, n);
  expect(values.length).toBe(expected.length);
  const unit = expected[0] || 1;
  let worst = 0;
  // A value that is zero comes out as some 1e-8 of the largest, in one way or the other.
  for (const [i, value] of values.entries()) worst = Math.max(worst, Math.abs(value - expected[i]!) / unit);
  expect(worst).toBeLessThan(1e-7);
  // The sum of squares has no such trouble.
  const energy = (s: Float64Array): number => s.reduce((sum, value) => sum + value * value, 0);
  expect(Math.abs(energy(values) / (energy(expected) || 1) - 1)).toBeLessThan(1e-12);
}

describe('convOperatorSpectrum', () => {
  it('knows closed forms', async () => {
    // The identity: a 1 in the middle of a 3 x 3 kernel from each channel to itself.
    const identity = new Float32Array(4 * 4 * 9);
    for (let c = 0; c < 4; c += 1) identity[(c * 4 + c) * 9 + 4] = 1;
    const weight = { data: identity, shape: [4, 4, 3, 3] };
    const ones = await convOperatorSpectrum(weight, { size: 6, pool });
    expect(ones.values.length).toBe(4 * 36);
    for (const value of ones.values) expect(value).toBeCloseTo(1, 12);

    // A shift is orthogonal wherever the 1 stands.
    const shift = await convOperatorSpectrum(
      { data: Float64Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1), shape: [1, 1, 3, 3] },
      { size: [5, 4] },
    );
    expect(shift.values.length).toBe(20);
    for (const value of shift.values) expect(value).toBeCloseTo(1, 14);

    // A moving average of 3: |1 + 2 cos(2πf/n)| / 3.
    const n = 8;
    const average = await convOperatorSpectrum(
      { data: new Float64Array(3).fill(1 / 3), shape: [1, 1, 3] },
      { size: n },
    );
    const expected = Array.from(
      { length: n },
      (_, f) => Math.abs(1 + 2 * Math.cos((2 * Math.PI * f) / n)) / 3,
    );
    expected.sort((a, b) => b - a);
    for (const [f, value] of average.values.entries()) expect(value).toBeCloseTo(expected[f]!, 14);

    // Subsampling alone keeps every value at 1.
    const sub = await convOperatorSpectrum(
      { data: Float64Array.of(1), shape: [1, 1, 1] },
      { size: 12, strides: [3] },
    );
    expect(Array.from(sub.values, (value) => Math.round(value * 1e12) / 1e12)).toEqual([1, 1, 1, 1]);

    const zero = await convOperatorSpectrum(
      { data: new Float32Array(36), shape: [2, 2, 3, 3] },
      { size: 4, pool },
    );
    expect(zero.values).toEqual(new Float64Array(32));
  });

  it('agrees with the operator as a dense matrix', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          groups: fc.integer({ min: 1, max: 2 }),
          out: fc.integer({ min: 1, max: 3 }),
          perGroup: fc.integer({ min: 1, max: 3 }),
          axes: fc.array(
            fc.record({
              kernel: fc.integer({ min: 1, max: 4 }),
              outputs: fc.integer({ min: 1, max: 4 }),
              stride: fc.integer({ min: 1, max: 3 }),
              dilation: fc.integer({ min: 1, max: 2 }),
            }),
            { minLength: 1, maxLength: 2 },
          ),
          seed: fc.nat(),
        }),
        async ({ groups, out, perGroup, axes, seed }) => {
          const shape = [groups * out, perGroup, ...axes.map(({ kernel }) => kernel)];
          await expectDense(randomWeight(shape, groups, seed), {
            size: axes.map(({ outputs, stride }) => outputs * stride),
            strides: axes.map(({ stride }) => stride),
            dilations: axes.map(({ dilation }) => dilation),
          });
        },
      ),
      { seed: 9, numRuns: 40 },
    );
    await expectDense(randomWeight([2, 1, 2, 3, 2]), { size: [3, 4, 2], strides: [1, 2, 1] });
  });

  it('agrees with NumPy on the convolutions of a model', async () => {
    const model = await readModel(fileURLToPath(new URL('../../../fixtures/shapes.onnx', import.meta.url)));
    const { operators } = HEAVY_TAIL['shapes.onnx'];
    let compared = 0;
    for (const { weight, groups } of findLinearSites(model).sites) {
      const { root } = weight;
      const expected = operators[root?.name ?? ''];
      if (root === undefined || expected === undefined) continue;
      expect(groups).toBe(expected.groups);
      const { values } = await convOperatorSpectrum(
        { data: root.floats(), shape: root.shape, groups },
        { size: expected.size, pool },
      );
      expect(values.length).toBe(expected.count);
      for (const [i, value] of expected.everyStep.entries()) {
        expect(Math.abs(values[i * expected.step]! - value)).toBeLessThan(1e-7 * values[0]!);
      }
      compared += 1;
    }
    expect(compared).toBe(5);
  });

  it('needs no kernel for depthwise convolutions and reports progress', async () => {
    const seen: { done: number; total: number }[] = [];
    const weight = randomWeight([6, 1, 3, 3], 6);
    const fails = { size: 1, singularValues: () => Promise.reject(new Error('not for these')) };
    const { values } = await convOperatorSpectrum(weight, {
      size: 9,
      pool: fails,
      onProgress: (progress) => seen.push(progress),
    });
    expect(values.length).toBe(6 * 81);
    expect(seen.at(-1)).toEqual({ done: 81, total: 81 });
    await expect(convOperatorSpectrum(randomWeight([2, 2, 3]), { size: 4, pool: fails })).rejects.toThrow(
      'not for these',
    );
  });

  it('starts a pool of its own', async () => {
    const weight = randomWeight([3, 2, 3, 3]);
    const own = await convOperatorSpectrum(weight, { size: 4 });
    expect(own).toEqual(await convOperatorSpectrum(weight, { size: 4, pool }));
  });

  it('refuses what does not fit together', async () => {
    const weight = randomWeight([4, 2, 3, 3], 2);
    const refused = (change: Partial<ConvWeight>, options: ConvOperatorOptions): Promise<void> =>
      expect(convOperatorSpectrum({ ...weight, ...change }, options)).rejects.toThrow(RangeError);
    await refused({ shape: [4, 18] }, { size: 4 });
    await refused({ shape: [4, 2, 3, 4] }, { size: 4 });
    await refused({ groups: 3 }, { size: 4 });
    await refused({}, { size: [4] });
    await refused({}, { size: 0 });
    await refused({}, { size: 4.5 });
    await refused({}, { size: 4, strides: [3, 1] });
    await refused({}, { size: 4, dilations: [0, 1] });
    await refused({ data: weight.data.map(() => Number.NaN) }, { size: 4 });
    const empty = await convOperatorSpectrum({ data: new Float32Array(0), shape: [0, 2, 3, 3] }, { size: 4 });
    expect(empty.values.length).toBe(0);
  });
});

describe('convSlices', () => {
  it('takes a weight apart by the offset in its kernel', () => {
    const shape = [3, 2, 2, 3];
    const data = Float32Array.from({ length: product(shape) }, (_, i) => i);
    const slices = convSlices(shape);
    expect(slices.map(({ offset }) => offset)).toEqual(positions([2, 3]));
    const seen = slices.flatMap((slice) => [...sliceElements(data, slice)]).sort((a, b) => a - b);
    expect(seen).toEqual([...data]);
    const [, , , , slice] = slices;
    // W[:, :, 1, 1]
    expect(sliceElements(data, slice!)).toEqual(Float32Array.of(4, 10, 16, 22, 28, 34));
    expect([slice!.rows, slice!.columns]).toEqual([3, 2]);
    // The pooled energy is that of the weight.
    let energy = 0;
    for (const each of slices) {
      for (const value of singularValues(sliceElements(data, each), 3, 2)) energy += value * value;
    }
    expect(energy / data.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(1, 12);
  });

  it('knows one and three axes, and refuses none', () => {
    expect(convSlices([4, 3, 5])).toHaveLength(5);
    expect(convSlices([4, 3, 2, 2, 2]).map(({ offset }) => offset)).toEqual(positions([2, 2, 2]));
    expect(() => convSlices([4, 3])).toThrow(RangeError);
    expect(() => convSlices([4, 3, 1.5])).toThrow(RangeError);
    expect(() => sliceElements(new Float32Array(3), convSlices([4, 3, 2])[0]!)).toThrow(RangeError);
  });
});
