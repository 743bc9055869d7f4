import { afterAll, describe, expect, test } from 'vitest';
import { type AttributeValue, isFloatType, Tensor, ValueInfo } from '../../../src/graph/index.js';
import {
  LAST_OPSET,
  OPERATORS,
  type StandardOperator,
  VERSIONS,
} from '../../../src/graph/operators/index.js';
import { openSession, type RuntimeTensor, type Session } from '../../../src/runtime/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { CASES, type Case, NOT_RUN } from './cases.js';

const names = Object.keys(VERSIONS) as StandardOperator[];
/** Operator sets beyond this are taken for operators alone that came later. */
const USUAL = 21;

/** The first version of an operator is the oldest in which it can be written; removed ones are written in their last. */
function opsetOf(name: StandardOperator): number {
  const versions: readonly number[] = VERSIONS[name];
  if (name === 'Upsample' || name === 'Scatter') return versions.at(-1)! - 1;
  return Math.max(USUAL, versions[0]!);
}

const sessions: Session[] = [];
afterAll(async () => {
  for (const session of sessions) await session[Symbol.asyncDispose]();
});

type Run = (inputs: Case['inputs']) => Promise<RuntimeTensor[]>;

/** Opens an operator on inputs as a case has them; of constants, no axis or size is known before. */
async function opened(
  name: StandardOperator,
  { inputs, attributes = {}, outputs = 1 }: Case,
  opset = opsetOf(name),
): Promise<Run> {
  const infos = inputs.map((input, i) => (input === '' ? '' : ValueInfo.tensor(`x${i}`, input.dataType)));
  const made = Array.from({ length: outputs }, (_, i) => `y${i}`);
  const model = buildModel({
    nodes: [
      {
        opType: name,
        inputs: infos.map((info) => (info === '' ? '' : info.name)),
        outputs: made,
        attributes,
      },
    ],
    inputs: infos.filter((info) => info !== ''),
    outputs: made,
    opset,
    irVersion: 10,
  });
  const session = await openSession(model, { optimization: 'disabled' });
  sessions.push(session);
  return async (given) => {
    const feeds = Object.fromEntries(
      given.flatMap((tensor, i) =>
        tensor === ''
          ? []
          : [[`x${i}`, { type: tensor.dataType, shape: tensor.shape, data: tensor.array() }]],
      ),
    );
    const results = await session.run(feeds as Record<string, RuntimeTensor>);
    return made.map((output) => results[output]!);
  };
}

const list = ({ data }: Pick<RuntimeTensor, 'data'>): number[] =>
  Array.from(data as ArrayLike<number | bigint>, Number);
const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
const isSame = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((value, i) => Object.is(value, b[i]));

function withElements(tensor: Tensor, map: (values: number[]) => number[]): Tensor {
  const values = map(Array.from(tensor.array() as ArrayLike<number | bigint>, Number));
  const array = tensor.array().slice();
  for (const [i, value] of values.entries()) array[i] = typeof array[i] === 'bigint' ? BigInt(value) : value;
  return tensor.withData(array);
}

const broadcastShape = (shapes: readonly (readonly number[])[]): number[] => {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) =>
    Math.max(...shapes.map((shape) => shape[axis - rank + shape.length] ?? 1)),
  );
};

describe('every operator of the standard', () => {
  test(`of operator sets 1 to ${LAST_OPSET} has traits, and no other`, () => {
    expect(Object.keys(OPERATORS).sort()).toEqual([...names].sort());
  });

  test('is run, or stands in the list of those that are not', () => {
    expect([...Object.keys(CASES), ...Object.keys(NOT_RUN)].sort()).toEqual([...names].sort());
  });

  test('means something else only in versions in which it changed', () => {
    for (const name of names) {
      const versions: readonly number[] = VERSIONS[name];
      for (const version of OPERATORS[name].rewritten ?? []) expect(versions, name).toContain(version);
      for (const { since } of OPERATORS[name].axis ?? []) expect([1, ...versions], name).toContain(since);
    }
  });

  test.each(names.filter((name) => NOT_RUN[name] === 'no kernel'))('%s has no kernel', async (name) => {
    const input = Tensor.of('', 'float32', [2], Float32Array.of(1, 2));
    await expect(opened(name, { inputs: [input], attributes: { to: { int: 6 } } }, 26)).rejects.toThrow();
  });
});

describe.each(names.filter((name) => CASES[name] !== undefined))('%s, as onnxruntime computes it', (name) => {
  const traits = OPERATORS[name];
  const given = CASES[name]!;
  let usual: Promise<Run> | undefined;
  const open = (): Promise<Run> => {
    usual ??= opened(name, given);
    return usual;
  };
  const [first] = given.inputs;

  test('has the shape that its traits say, and is another one each time only where they say so', async () => {
    const run = await open();
    const [y] = await run(given.inputs);
    const [again] = await run(given.inputs);
    expect(isSame(list(y!), list(again!))).toBe(traits.random !== true);
    if (!(first instanceof Tensor)) return;
    const shapes = given.inputs.filter((input) => input !== '').map(({ shape }) => shape);
    const isBroadcast = traits.shape === 'broadcast';
    expect(y!.shape.join() === first.shape.join()).toBe(traits.shape === 'first');
    if (isBroadcast) expect(y!.shape).toEqual(broadcastShape(shapes));
    if (traits.shape === 'channels') {
      expect(y!.shape).toHaveLength(first.shape.length);
      expect(y!.shape.slice(0, 2)).toEqual(first.shape.slice(0, 2));
    }
  });

  test('treats elements as its traits say', async () => {
    if (!(first instanceof Tensor) || traits.random) return;
    // Of operators that broadcast, all operands in one shape.
    const shape =
      traits.shape === 'broadcast'
        ? broadcastShape(given.inputs.map((input) => (input as Tensor).shape))
        : undefined;
    const inputs = given.inputs.map((input) =>
      shape === undefined || input === ''
        ? input
        : Tensor.of(
            '',
            input.dataType,
            shape,
            repeated(
              input,
              shape.reduce((a, b) => a * b, 1),
            ) as never,
          ),
    );
    const run = await open();
    const [y] = await run(inputs);
    const before = list(y!);
    const main = inputs[0] as Tensor;
    if (y!.shape.join() === main.shape.join()) {
      const roll = (values: readonly number[]): number[] => [...values.slice(1), ...values.slice(0, 1)];
      const isLike = (input: Tensor): boolean => input.size === main.size;
      const rolled = inputs.map((input) =>
        input !== '' && isLike(input) ? withElements(input, roll) : input,
      );
      const [moved] = await run(rolled);
      const swapped = inputs.with(
        0,
        withElements(main, (values) => values.with(0, isFloatType(main.dataType) ? 9 : values[1]!)),
      );
      const [changed] = await run(swapped);
      const isAlone = isSame(list(changed!).slice(1), before.slice(1));
      expect(isSame(list(moved!), roll(before)) && isAlone).toBe(traits.elementwise === true);
    } else expect(traits.elementwise).toBeUndefined();
    const from = inputs.flatMap((input) => (input === '' ? [] : list({ data: input.array() as never })));
    if (traits.moves)
      for (const value of before) expect(value === 0 || from.includes(value), String(value)).toBe(true);
    if (traits.relabels) expect(sorted(before)).toEqual(sorted(list({ data: main.array() as never })));
  });

  test('is flat and jumps where its traits say', async () => {
    if (!(first instanceof Tensor) || !isFloatType(first.dataType) || traits.random) return;
    const run = await open();
    const near = given.inputs.with(
      0,
      withElements(first, (values) => values.map((x) => x * (1 + 1e-5))),
    );
    const [y] = await run(given.inputs);
    const [z] = await run(near);
    // That of integers says nothing of what it does with floats.
    if (y!.type === 'float32' || traits.flat) expect(isSame(list(y!), list(z!))).toBe(traits.flat === true);
    if (!traits.elementwise) return;
    const others = given.inputs
      .slice(1)
      .map((input) =>
        input === '' || input.size === 1 ? input : Tensor.of('', 'float32', [1], Float32Array.of(0.75)),
      );
    const at = async (points: number[]): Promise<number[]> =>
      list(
        (await run([Tensor.of('', 'float32', [points.length], Float32Array.from(points)), ...others]))[0]!,
      );
    expect(await jumps(at, y!.type !== 'float32')).toBe(traits.decides === true);
  });

  test('counts its axis from where its traits say', async () => {
    for (const { since, value } of traits.axis ?? []) {
      if (name === 'Concat' && since === 1) continue;
      const versions: readonly number[] = VERSIONS[name];
      const next = traits.axis!.find((entry) => entry.since > since)?.since;
      const opset = next === undefined ? opsetOf(name) : Math.max(versions[0]!, next - 1, 7);
      const attributes = { ...given.attributes };
      delete attributes.axis;
      const withAxis = (axis: number): Readonly<Record<string, AttributeValue>> => ({
        ...attributes,
        axis: { int: axis },
      });
      const [absent] = await (await opened(name, { ...given, attributes }, opset))(given.inputs);
      const [same] = await (await opened(name, { ...given, attributes: withAxis(value) }, opset))(
        given.inputs,
      );
      expect(same).toEqual(absent);
    }
  });
});

function repeated(tensor: Tensor, size: number): ArrayBufferView {
  const array = tensor.array();
  const more = new (array.constructor as Float32ArrayConstructor)(size);
  for (let i = 0; i < size; i += 1) more[i] = array[i % array.length] as number;
  return more;
}

/** Whether a function of a number jumps between -3 and 3: by bisection of the steps on which it changes most. */
async function jumps(at: (points: number[]) => Promise<number[]>, isInteger: boolean): Promise<boolean> {
  let left = Array.from({ length: 385 }, (_, i) => -3 + i / 64);
  let right = left.map((x) => x + 1 / 64);
  let [a, c] = [await at(left), await at(right)];
  for (let step = 0; step < 14; step += 1) {
    const middle = left.map((x, i) => (x + right[i]!) / 2);
    const b = await at(middle);
    const takesLeft = middle.map((_, i) => Math.abs(b[i]! - a[i]!) >= Math.abs(c[i]! - b[i]!));
    [left, a] = [
      left.map((x, i) => (takesLeft[i] ? x : middle[i]!)),
      a.map((y, i) => (takesLeft[i] ? y : b[i]!)),
    ];
    [right, c] = [
      right.map((x, i) => (takesLeft[i] ? middle[i]! : x)),
      c.map((y, i) => (takesLeft[i] ? b[i]! : y)),
    ];
  }
  // Poles are none: there it is large on both sides.
  return a.some(
    (y, i) => Math.abs(c[i]! - y) > 0.05 && (isInteger || (Math.abs(y) < 20 && Math.abs(c[i]!) < 20)),
  );
}
