import { ModelError } from '../../../graph/index.js';
import { at, broadcastShapes, product } from '../shapes.js';
import type { Rule, RuleContext, Value } from '../types.js';
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

/** The equation with the ellipsis spelled out in letters, and the result that is implied where there is none. */
function parseEinsum(text: string, ranks: readonly number[]): Equation {
  const [left = '', right] = text.replaceAll(' ', '').split('->');
  const spare = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'].filter(
    (letter) => !text.includes(letter),
  );
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
  if (operands.some((labels) => new Set(labels).size < labels.length)) {
    throw new ModelError('the gradient of Einsum with a repeated letter in one operand is not built', {
      node: node.label,
    });
  }
  const sizes = new Map<string, number>();
  for (const [index, labels] of operands.entries()) {
    for (const [axis, letter] of labels.entries()) {
      sizes.set(letter, Math.max(sizes.get(letter) ?? 1, at(at(inputs, index).shape, axis)));
    }
  }
  return inputs.map((x, index) => {
    if (!context.needs(index)) return undefined;
    const labels = at(operands, index);
    const others = operands.flatMap((terms, other) => (other === index ? [] : [terms]));
    const reach = new Set([...result, ...others.flat()]);
    const kept = labels.filter((letter) => reach.has(letter));
    const equation = `${[result, ...others].map((terms) => terms.join('')).join(',')}->${kept.join('')}`;
    const size = (letter: string): number => sizes.get(letter) ?? 1;
    const made = build.op('Einsum', [dy, ...inputs.filter((_, other) => other !== index)], kept.map(size), {
      equation: { string: equation },
    });
    // A letter that stands here alone was summed away: each element counts as much.
    const lazy = build.reshape(
      made,
      labels.map((letter) => (reach.has(letter) ? size(letter) : 1)),
    );
    return build.unbroadcast(lazy, labels.map(size), x.shape);
  });
}

export const MATMUL = {
  Gemm: { through: [0, 1, 2], backward: gemm },
  MatMul: { through: [0, 1], backward: matmul },
  Einsum: { through: 'all', backward: einsum },
} as const satisfies Record<string, Rule>;
