import { ModelError, type Node } from '../../graph/index.js';
import type { ActiveNode, Activity } from './activity.js';
import type { Builder } from './builder.js';
import { throughInputs } from './rules/index.js';
import { broadcastShapes, sameShape } from './shapes.js';
import type { Rewritten, RuleContext } from './types.js';
import type { Value } from './value.js';

export interface SweepInput {
  readonly build: Builder;
  readonly activity: Activity;
  /** What the rules' `forward` gave, by node. */
  readonly rewritten: ReadonlyMap<Node, Rewritten>;
  valueNamed(name: string): Value;
  numbers(name: string): readonly number[] | undefined;
}

/**
 * From the loss back to what it is differentiated by: each rule once, in reverse order, gradients of a value that
 * several nodes read added up.
 *
 * @returns the gradient of each dependent value that the loss reaches, in full size
 */
export async function sweep(input: SweepInput, loss: Value): Promise<(name: string) => Value | undefined> {
  const { build, activity } = input;
  const parts = new Map<string, Value[]>([[loss.name, [build.scalar(loss.type, 1)]]]);
  const settle = (name: string, isLazy: boolean): Value | undefined => {
    const list = parts.get(name);
    if (list === undefined) return undefined;
    const { shape } = input.valueNamed(name);
    let sum = build.sum(merged(input, list));
    if (!isLazy) sum = build.expand(sum, shape);
    parts.set(name, [sum]);
    return sum;
  };
  for (const { node, rule } of activity.nodes.toReversed()) {
    build.scope = `grad/${node.label}`;
    const gradients = node.outputs.map((output) =>
      output === '' ? undefined : settle(output, rule.lazy === true),
    );
    if (gradients.every((gradient) => gradient === undefined)) continue;
    const results = await rule.backward(contextOf(input, { node, rule }, gradients));
    for (const index of throughInputs(rule, node)) {
      const name = node.inputs[index] ?? '';
      const gradient = results[index];
      if (gradient === undefined || !activity.dependent.has(name)) continue;
      checkShape(node, index, gradient, input.valueNamed(name));
      const list = parts.get(name);
      if (list === undefined) parts.set(name, [gradient]);
      else list.push(gradient);
    }
  }
  return (name) => {
    build.scope = `grad/${name}`;
    return settle(name, false);
  };
}

/** From so many products on one takes their place. */
const MOST_PRODUCTS = 4;

/**
 * What a weight gets from every layer that shares it (from every step of a recurrent one): products X_t^T Y_t, whose sum
 * is one product of the X_t above each other and the Y_t above each other.
 */
function merged({ build, valueNamed }: SweepInput, parts: readonly Value[]): readonly Value[] {
  if (parts.length < MOST_PRODUCTS) return parts;
  const names = new Set(parts.map(({ name }) => name));
  const products = build.nodes.filter(
    ({ opType, inputs, outputs, attributes }) =>
      opType === 'Gemm' &&
      names.has(outputs[0] ?? '') &&
      inputs.length === 2 &&
      attributes?.alpha === undefined &&
      attributes?.transA !== undefined &&
      attributes.transB === undefined,
  );
  if (products.length < MOST_PRODUCTS) return parts;
  const operand = (index: number): Value =>
    build.concat(
      products.map(({ inputs }) => valueNamed(inputs[index] ?? '')),
      0,
    );
  const product = build.gemm(operand(0), operand(1), true, false);
  const made = new Set(products.map(({ outputs }) => outputs[0]));
  return [...parts.filter(({ name }) => !made.has(name)), product];
}

function contextOf(
  { build, activity, rewritten, valueNamed, numbers }: SweepInput,
  { node, rule }: ActiveNode,
  gradients: readonly (Value | undefined)[],
): RuleContext {
  const through = throughInputs(rule, node);
  const values = (names: readonly string[]) =>
    names.map((name) => (name === '' ? undefined : valueNamed(name)));
  return {
    node,
    build,
    inputs: values(node.inputs),
    outputs: values(node.outputs),
    gradients,
    saved: rewritten.get(node)?.saved ?? [],
    needs: (index) => through.includes(index) && activity.dependent.has(node.inputs[index] ?? ''),
    numbers: (index) => {
      const name = node.inputs[index] ?? '';
      return name === '' ? undefined : numbers(name);
    },
  };
}

/** A rule that gives a gradient of another shape than its value has a mistake: better here than in onnxruntime. */
function checkShape(node: Node, index: number, gradient: Value, value: Value): void {
  const fits =
    gradient.shape.length === value.shape.length &&
    sameShape(broadcastShapes(gradient.shape, value.shape), value.shape);
  if (fits) return;
  throw new ModelError(
    `the rule of ${node.opType} gave a gradient [${gradient.shape.join(', ')}] for input ${index} [${value.shape.join(', ')}]; please report this`,
    { node: node.label },
  );
}
