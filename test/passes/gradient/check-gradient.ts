import { expect } from 'vitest';
import {
  type AttributeValue,
  assertValid,
  type Model,
  type NodeSpec,
  Tensor,
  ValueInfo,
} from '../../../src/graph/index.js';
import { type GradientOptions, gradient } from '../../../src/passes/gradient/index.js';
import { openSession, Random, type RuntimeTensor } from '../../../src/runtime/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';

export interface OpCase {
  readonly op: string;
  /** Shapes of the float inputs that are differentiated by. */
  readonly shapes: readonly (readonly number[])[];
  readonly attributes?: Readonly<Record<string, AttributeValue>> | undefined;
  /** Inputs behind those: constants, in the order of the operator; '' for one left out. */
  readonly constants?: readonly (Tensor | '')[] | undefined;
  /** Order of the inputs, where constants stand between: indices into [...shapes, ...constants]. */
  readonly order?: readonly number[] | undefined;
  /** float64 where the CPU provider has a kernel; float32 with a larger step where not. */
  readonly type?: 'float32' | 'float64' | undefined;
  readonly outputs?: number | undefined;
  /** Which output the loss reads. */
  readonly output?: number | undefined;
  /** From normal numbers to the input's: away from kinks, into a domain. */
  readonly map?: ((x: number, index: number, input: number) => number) | undefined;
  /** Step of the finite differences; large ones are exact for functions that are linear in each input. */
  readonly step?: number | undefined;
  readonly tolerance?: number | undefined;
  readonly opset?: number | undefined;
  readonly seed?: number | undefined;
  /** Takes the sum of the output instead of a product with random numbers: its gradient is one number for all. */
  readonly sum?: boolean | undefined;
  readonly options?: Partial<GradientOptions> | undefined;
}

const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];

export function opModel(spec: OpCase): Model {
  const { type = 'float64', shapes, constants = [], outputs = 1 } = spec;
  const every = [
    ...shapes.map((_, i) => names[i]!),
    ...constants.map((constant) => (constant === '' ? '' : constant.name)),
  ];
  const node: NodeSpec = {
    opType: spec.op,
    inputs: (spec.order ?? [...every.keys()]).map((index) => every[index]!),
    outputs: Array.from({ length: outputs }, (_, i) => `y${i}`),
    attributes: spec.attributes ?? {},
  };
  return buildModel({
    nodes: [node],
    inputs: shapes.map((shape, i) => ValueInfo.tensor(names[i]!, type, shape)),
    outputs: node.outputs,
    initializers: constants.filter((constant) => constant !== ''),
    opset: spec.opset ?? 18,
  });
}

/** Compares the gradient of an operator with central finite differences of its output, in every input. */
export async function checkOp(spec: OpCase): Promise<void> {
  const { type = 'float64', shapes, map = (x: number) => x, seed = 1 } = spec;
  const wrt = shapes.map((_, i) => names[i]!);
  const values = shapes.map((shape, input) =>
    new Random(seed, names[input]!)
      .fillNormal(new Float64Array(size(shape)))
      .map((x, index) => map(x, index, input)),
  );
  await checkModel(opModel(spec), wrt, { ...spec, type, values });
}

/** Compares second derivatives: the gradient of a gradient, in every input and in what the first was multiplied by. */
export async function checkSecond(spec: OpCase): Promise<void> {
  const { type = 'float64', shapes, map = (x: number) => x, seed = 1, options } = spec;
  const wrt = shapes.map((_, i) => names[i]!);
  const first = await gradient(opModel(spec), {
    loss: 'dot',
    wrt,
    output: 'y0',
    weights: 'constants',
    ...options,
  });
  const target = first.model.graph.inputs.find(({ name }) => name === first.target)!.shape as number[];
  const every = [...shapes, target];
  const values = every.map((shape, input) =>
    new Random(seed, `second ${input}`)
      .fillNormal(new Float64Array(size(shape)))
      .map((x, index) => (input < shapes.length ? map(x, index, input) : x)),
  );
  for (const output of first.gradients.values()) {
    await checkModel(first.model, [...wrt, first.target!], {
      ...spec,
      type,
      shapes: every,
      values,
      name: output,
    });
  }
}

export interface CheckSpec extends Omit<OpCase, 'op' | 'shapes' | 'map' | 'constants'> {
  readonly type: 'float32' | 'float64';
  readonly shapes: readonly (readonly number[])[];
  readonly values: readonly Float64Array[];
  /** The output that the loss reads, by its name. */
  readonly name?: string;
}

export async function checkModel(model: Model, wrt: readonly string[], spec: CheckSpec): Promise<void> {
  const { type, shapes, values, output = 0, seed = 1 } = spec;
  const step = spec.step ?? (type === 'float64' ? 1e-5 : 1e-2);
  const tolerance = spec.tolerance ?? (type === 'float64' ? 1e-7 : 2e-3);
  const made = await gradient(model, {
    loss: spec.sum ? 'sum' : 'dot',
    wrt,
    output: spec.name ?? `y${output}`,
    weights: 'constants',
    ...spec.options,
  });
  assertValid(made.model);
  await using session = await openSession(made.model);
  const shape = made.model.graph.inputs.find(({ name }) => name === made.target)?.shape as
    | number[]
    | undefined;
  const target = shape && new Random(seed, 'target').fillNormal(new Float64Array(size(shape)));
  const read = new Set(made.model.graph.inputs.map((input) => input.name));
  const feeds = (): Record<string, RuntimeTensor> => ({
    ...Object.fromEntries(
      wrt.flatMap((name, i) =>
        read.has(name) ? [[name, tensor(type, shapes[i]!, values[i]!)] as const] : [],
      ),
    ),
    ...(shape && target && { [made.target!]: tensor(type, shape, target) }),
  });
  const loss = async (): Promise<number> => {
    const results = await session.run(feeds(), { outputs: [made.prediction] });
    const y = results[made.prediction]!.data as Float64Array;
    return y.reduce((sum, number, i) => sum + number * (target?.[i] ?? 1), 0);
  };
  const results = await session.run(feeds());
  for (const [i, name] of wrt.entries()) {
    const found = made.gradients.get(name);
    const exact =
      found === undefined ? new Float64Array(values[i]!.length) : (results[found]!.data as Float64Array);
    expect(found === undefined ? shapes[i] : [...results[found]!.shape]).toEqual([...shapes[i]!]);
    const places = sample(values[i]!.length, 16);
    const differences: number[] = [];
    for (const place of places) {
      const before = values[i]![place]!;
      values[i]![place] = before + step;
      const above = await loss();
      values[i]![place] = before - step;
      const below = await loss();
      values[i]![place] = before;
      differences.push((above - below) / (2 * step));
    }
    const scale = Math.max(1, ...differences.map(Math.abs));
    for (const [k, place] of places.entries()) {
      const error = Math.abs(exact[place]! - differences[k]!) / scale;
      expect(
        error,
        `d/d${name}[${place}]: ${exact[place]} but differences give ${differences[k]}`,
      ).toBeLessThan(tolerance);
    }
  }
}

/** Some places spread over a tensor. */
function sample(length: number, most: number): number[] {
  if (length <= most) return [...Array(length).keys()];
  return Array.from({ length: most }, (_, i) => Math.floor((i * 7919) % length));
}

export function size(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

export function tensor(
  type: 'float32' | 'float64',
  shape: readonly number[],
  data: Float64Array,
): RuntimeTensor {
  return { type, shape, data: type === 'float64' ? data : Float32Array.from(data) };
}

export function ints(
  name: string,
  numbers: readonly number[],
  shape: readonly number[] = [numbers.length],
): Tensor {
  return Tensor.of(name, 'int64', shape, BigInt64Array.from(numbers, BigInt));
}

export function doubles(
  name: string,
  numbers: readonly number[],
  shape: readonly number[] = [numbers.length],
): Tensor {
  return Tensor.of(name, 'float64', shape, Float64Array.from(numbers));
}

export function singles(
  name: string,
  numbers: readonly number[],
  shape: readonly number[] = [numbers.length],
): Tensor {
  return Tensor.of(name, 'float32', shape, Float32Array.from(numbers));
}
