import { expect } from 'vitest';
import { verifyModels } from '../../src/analysis/verify/verify.js';
import { check } from '../../src/graph/check/check.js';
import { type Difference, diffModels } from '../../src/graph/diff/diff.js';
import type { Model } from '../../src/graph/index.js';
import { type CollapseAccount, type CollapseOptions, collapse } from '../../src/passes/collapse/collapse.js';
import { type ExpandAccount, type ExpandOptions, expand } from '../../src/passes/expand/expand.js';
import { copyOf, relativeError } from './models.js';

/**
 * Largest difference relative to the largest output. Each of up to five factors is rounded to eps / 2, and each sum of
 * n products adds about sqrt(n) eps: 1e-6 for float32. A factor of 20 is left for outputs that cancel.
 */
export const TOLERANCE = { float32: 2e-5, float64: 1e-12, float16: 3e-2 } as const;

export async function expectSameFunction(
  a: Model,
  b: Model,
  tolerance: number = TOLERANCE.float32,
  samples = 2,
): Promise<void> {
  const result = await verifyModels(a, b, { samples, tolerance });
  expect(result.problems).toEqual([]);
  for (const output of result.outputs)
    expect(output.relativeDifference, output.name).toBeLessThanOrEqual(tolerance);
  expect(result.passed).toBe(true);
}

export function expectSound(model: Model): void {
  expect(check(model)).toEqual([]);
}

/** Every Gemm, MatMul and Conv of the model stands in exactly one of the lists of the account. */
export function expectComplete(before: Model, { rewritten, skipped }: ExpandAccount): void {
  const nodes = [before.graph, ...before.functions]
    .flatMap((graph) => [...graph.walk()])
    .flatMap((graph) => graph.nodes)
    .filter((node) => node.is('Gemm', 'MatMul', 'Conv', 'ConvTranspose'));
  expect([...rewritten, ...skipped].map(({ node }) => node).sort()).toEqual(
    nodes.map(({ label }) => label).sort(),
  );
}

export interface Expanded {
  readonly model: Model;
  readonly account: ExpandAccount;
}

/** Expands a copy; checks the copy and the account. */
export async function expanded(model: Model, options: ExpandOptions = {}): Promise<Expanded> {
  const copy = await copyOf(model);
  const [account] = await copy.apply(expand(options));
  expectSound(copy);
  expectComplete(model, account);
  return { model: copy, account };
}

export async function collapsed(
  model: Model,
  options: CollapseOptions = {},
): Promise<{ readonly model: Model; readonly account: CollapseAccount }> {
  const copy = await copyOf(model);
  const [account] = await copy.apply(collapse(options));
  expectSound(copy);
  // Every entry speaks of nodes that were there, and none of what another speaks of.
  const touched = account.rewritten.flatMap(({ from }) => from);
  expect(new Set(touched).size).toBe(touched.length);
  const labels = new Set([...model.nodes()].map(({ label }) => label));
  expect(touched.filter((label) => !labels.has(label))).toEqual([]);
  return { model: copy, account };
}

/**
 * Differences apart from the elements of weights and from orders that mean nothing: of initializers, and of the nodes
 * that only prepare constants.
 */
export function structuralDifferences(a: Model, b: Model): Difference[] {
  const isOrder = /(initializer|graph\.input|node) \(order\)$/;
  expect(computing(b)).toEqual(computing(a));
  return diffModels(a, b, { weights: 'ignore' }).filter(({ path }) => !isOrder.test(path));
}

const PREPARING = new Set([
  'Constant',
  'Identity',
  'Reshape',
  'Transpose',
  'Squeeze',
  'Cast',
  'ConstantOfShape',
  'Mul',
  'Neg',
]);

function computing(model: Model): string[] {
  return [...model.nodes()]
    .map((node) => `${node.opType} ${node.name}`)
    .filter((text) => !PREPARING.has(text.split(' ')[0]!));
}

/** The law collapse(expand(m)) = m. */
export async function expectRestored(
  model: Model,
  options: ExpandOptions = {},
  tolerance = 1e-6,
): Promise<{ readonly expanded: Expanded; readonly restored: Model }> {
  const result = await expanded(model, options);
  const { model: restored, account } = await collapsed(result.model, { chainsOnly: true });
  expect(account.skipped).toEqual([]);
  expect(account.rewritten.length).toBe(result.account.rewritten.length);
  expect(structuralDifferences(model, restored)).toEqual([]);
  for (const [name, tensor] of model.graph.initializers) {
    const after = restored.graph.initializers.get(name)!;
    if (tensor.dataType.startsWith('float')) {
      expect(relativeError(tensor.floats(), after.floats()), name).toBeLessThanOrEqual(tolerance);
    }
  }
  return { expanded: result, restored };
}
