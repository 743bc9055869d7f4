import type { DataType } from '../../../graph/index.js';
import type { Builder } from '../builder.js';
import { at, broadcastShapes, product } from '../shapes.js';
import type { Rule, RuleContext } from '../types.js';
import type { Value } from '../value.js';
import { required } from './arithmetic.js';

function gemm(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const [a, b, dy] = [
    required(context.inputs, 0),
    required(context.inputs, 1),
    required(context.gradients, 0),
  ];
  const { attributes } = node;
  const [transA, transB] = [attributes.int('transA', 0) !== 0, attributes.int('transB', 0) !== 0];
  const [alpha, beta] = [attributes.float('alpha', 1), attributes.float('beta', 1)];
  const c = context.inputs[2];
  const da = (): Value =>
    transA ? build.gemm(b, dy, transB, true, alpha) : build.gemm(dy, b, false, !transB, alpha);
  const db = (): Value =>
    transB ? build.gemm(dy, a, true, transA, alpha) : build.gemm(a, dy, !transA, false, alpha);
  return [
    context.needs(0) ? da() : undefined,
    context.needs(1) ? db() : undefined,
    c && context.needs(2) ? build.scale(build.unbroadcast(dy, dy.shape, c.shape), beta) : undefined,
  ];
}

function matmul(context: RuleContext): (Value | undefined)[] {
  const { build } = context;
  const [a, b] = [required(context.inputs, 0), required(context.inputs, 1)];
  const isRow = a.shape.length === 1;
  const isColumn = b.shape.length === 1;
  // Vectors are matrices of one row or one column.
  const left = isRow ? build.reshape(a, [1, at(a.shape, 0)]) : a;
  const right = isColumn ? build.reshape(b, [at(b.shape, 0), 1]) : b;
  const batch = broadcastShapes(left.shape.slice(0, -2), right.shape.slice(0, -2));
  const [rows, columns] = [at(left.shape, left.shape.length - 2), at(right.shape, right.shape.length - 1)];
  const inner = at(left.shape, left.shape.length - 1);
  const dy = build.reshape(required(context.gradients, 0), [...batch, rows, columns]);
  const da = (): Value => {
    const full = build.matmul(dy, build.transposeLast(right));
    return build.reshape(build.unbroadcast(full, full.shape, left.shape), a.shape);
  };
  const db = (): Value => {
    // One matrix for a whole batch of inputs: one product over all rows, instead of many that are then summed.
    if (right.shape.length === 2 && product(left.shape.slice(0, -2)) === product(batch)) {
      const total = product(batch) * rows;
      const flat = build.gemm(
        build.reshape(left, [total, inner]),
        build.reshape(dy, [total, columns]),
        true,
        false,
      );
      return build.reshape(flat, b.shape);
    }
    const full = build.matmul(build.transposeLast(left), dy);
    return build.reshape(build.unbroadcast(full, full.shape, right.shape), b.shape);
  };
  return [context.needs(0) ? da() : undefined, context.needs(1) ? db() : undefined];
}

// ---- Einsum ---------------------------------------------------------------------------------------------------

interface Equation {
  /** One letter for each axis of each operand. */
  readonly operands: readonly (readonly string[])[];
  readonly result: readonly string[];
}

function lettersBut(taken: readonly string[]): string[] {
  return [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'].filter(
    (letter) => !taken.includes(letter),
  );
}

/** The equation with the ellipsis spelled out in letters, and the result that is implied where there is none. */
function parseEinsum(text: string, ranks: readonly number[]): Equation {
  const [left = '', right] = text.replaceAll(' ', '').split('->');
  const spare = lettersBut([...text]);
  const terms = left.split(',');
  const covered = (term: string, rank: number): number => rank - [...term.replace('...', '')].length;
  const width = Math.max(
    0,
    ...terms.map((term, index) => (term.includes('...') ? covered(term, at(ranks, index)) : 0)),
  );
  const letters = spare.slice(0, width);
  const spell = (term: string, count: number): string[] => {
    const [before = '', after] = term.split('...');
    if (after === undefined) return [...term];
    return [...before, ...letters.slice(width - count), ...after];
  };
  const operands = terms.map((term, index) => spell(term, covered(term, at(ranks, index))));
  const all = operands.flat();
  const once = [...new Set(all)].filter(
    (letter) => !letters.includes(letter) && all.indexOf(letter) === all.lastIndexOf(letter),
  );
  const result = right === undefined ? [...letters, ...once.sort()] : spell(right, width);
  return { operands, result };
}

function einsum(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const inputs = context.inputs.map((_, index) => required(context.inputs, index));
  const dy = required(context.gradients, 0);
  const { operands, result } = parseEinsum(
    node.attributes.string('equation', ''),
    inputs.map((input) => input.shape.length),
  );
  // A letter that an operand has twice takes its diagonal: as two letters, and a unit matrix of the two.
  const spare = lettersBut(operands.flat());
  const diagonals: { readonly labels: readonly string[]; readonly value: Value }[] = [];
  const sizes = new Map<string, number>();
  const apart = operands.map((labels, index) =>
    labels.map((letter, axis) => {
      const size = at(at(inputs, index).shape, axis);
      const first = labels.indexOf(letter) === axis;
      const own = first ? letter : (spare.shift() as string);
      if (!first) diagonals.push({ labels: [letter, own], value: unitMatrix(build, dy.type, size) });
      sizes.set(own, Math.max(sizes.get(own) ?? 1, size));
      return own;
    }),
  );
  return inputs.map((x, index) => {
    if (!context.needs(index)) return undefined;
    const labels = at(apart, index);
    const others = [
      ...inputs
        .map((value, other) => ({ labels: at(apart, other), value }))
        .filter((_, other) => other !== index),
      ...diagonals,
    ];
    const terms = [{ labels: result, value: dy }, ...others];
    // As large as a letter is in what stands here: 1 where it is broadcast, or summed away in this operand alone.
    const sizeHere = (letter: string): number =>
      Math.max(1, ...terms.map((term) => term.value.shape[term.labels.indexOf(letter)] ?? 1));
    const reach = new Set(terms.flatMap((term) => term.labels));
    const kept = labels.filter((letter) => reach.has(letter));
    const equation = `${terms.map((term) => term.labels.join('')).join(',')}->${kept.join('')}`;
    const made = build.op(
      'Einsum',
      terms.map(({ value }) => value),
      kept.map(sizeHere),
      { equation: { string: equation } },
    );
    const lazy = build.reshape(made, labels.map(sizeHere));
    const size = (letter: string): number => sizes.get(letter) ?? 1;
    return build.unbroadcast(lazy, labels.map(size), x.shape);
  });
}

function unitMatrix(build: Builder, type: DataType, size: number): Value {
  const numbers = Float64Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0));
  return build.constant(type, [size, size], numbers);
}

export const MATMUL = {
  Gemm: { through: [0, 1, 2], backward: gemm },
  MatMul: { through: [0, 1], backward: matmul },
  Einsum: { through: 'all', backward: einsum },
} as const satisfies Record<string, Rule>;
