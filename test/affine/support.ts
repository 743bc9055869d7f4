import { expect } from 'vitest';
import type { FoundRegions } from '../../src/affine/match/region.js';
import { type FindOptions, findRegions } from '../../src/affine/match/regions.js';
import {
  check,
  type FloatType,
  type Model,
  modelToBytes,
  type NativeArrays,
  readModel,
  widen,
} from '../../src/graph/index.js';
import { FoldedConstants, foldRegion } from '../../src/passes/collapse/fold.js';
import { describeRegion, type RegionReport } from '../../src/passes/collapse/region-report.js';
import { openSession, type RuntimeTensor, randomInputs } from '../../src/runtime/index.js';

export interface Folded extends FoundRegions {
  readonly model: Model;
  /** Operators of the main graph after folding. */
  readonly ops: readonly string[];
  readonly relativeDifference: number;
}

/** Folds a copy of a model, checks it, and compares both in onnxruntime. */
export async function foldCopy(original: Model, options: FindOptions = {}): Promise<Folded> {
  const model = await readModel(modelToBytes(original));
  const found = findRegions(model, options);
  const made = new FoldedConstants();
  for (const region of found.regions) await foldRegion(region, made);
  expect(check(model)).toEqual([]);
  const relativeDifference = await compare(original, model);
  return { ...found, model, ops: model.graph.nodes.map((node) => node.opType), relativeDifference };
}

/** Folds what is left to fold, as often as something is, three times at most; gives what is left then. */
export async function leftToFold(model: Model, options: FindOptions = {}): Promise<RegionReport[]> {
  let left = findRegions(model, options).regions;
  for (let round = 0; round < 3 && left.length > 0; round += 1) {
    const again = await foldCopy(model, options);
    expect(again.relativeDifference).toBeLessThan(2e-5);
    model = again.model;
    left = findRegions(model, options).regions;
  }
  return left.map(describeRegion);
}

/**
 * max |Δ| / max |y| over all outputs. Without onnxruntime's own rewriting, which would hide an error by making it too,
 * and which multiplies float64 by float32 (MatMulScaleFusion's alpha).
 */
async function compare(a: Model, b: Model): Promise<number> {
  const feeds = randomInputs(a);
  const run = async (model: Model): Promise<Record<string, RuntimeTensor>> => {
    await using session = await openSession(model, { optimization: 'disabled', threads: 1 });
    return await session.run(feeds);
  };
  const [before, after] = [await run(a), await run(b)];
  let worst = 0;
  for (const [name, { type, shape, data }] of Object.entries(before)) {
    expect(after[name]?.shape).toEqual(shape);
    const floats = (array: RuntimeTensor['data']): number[] =>
      Array.from(widen(type as FloatType, array as NativeArrays[FloatType]));
    const [left, right] = [floats(data), floats(after[name]!.data)];
    const largest = left.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const difference = left.reduce((most, value, i) => Math.max(most, Math.abs(value - right[i]!)), 0);
    worst = Math.max(worst, difference === 0 ? 0 : difference / largest);
  }
  return worst;
}

/** The model becomes these operators, and computes the same. */
export async function expectFolds(
  original: Model,
  ops: readonly string[],
  options: FindOptions = {},
  tolerance = 1e-5,
): Promise<Folded> {
  const folded = await foldCopy(original, options);
  expect(folded.ops).toEqual(ops);
  expect(folded.relativeDifference).toBeLessThan(tolerance);
  return folded;
}
