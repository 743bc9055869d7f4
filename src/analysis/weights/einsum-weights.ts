/** How a weight of an Einsum is one matrix or several: sizes of its axes, in their order. */
export interface EinsumMatrix {
  /** Matrices before one another. */
  readonly batch: number;
  readonly rows: number;
  readonly columns: number;
}

/**
 * The matrices of one operand of an Einsum of two: letters that are summed over against letters that the result keeps, both of which have to
 * stand together; letters that all three have number matrices.
 *
 * @param index which of the operands the weight is
 * @returns the matrix, or the reason why it is none
 */
export function einsumMatrix(
  equation: string,
  index: number,
  shape: readonly number[],
): EinsumMatrix | { readonly reason: string } {
  const [left = '', result] = equation.replaceAll(' ', '').split('->');
  const terms = left.split(',');
  const [own = '', other = ''] = [terms[index], terms[1 - index]];
  const unknown = { reason: `its equation '${equation}' makes no matrix of its weight` };
  if (terms.length !== 2 || result === undefined || /\./.test(own) || own.length !== shape.length)
    return unknown;
  // An ellipsis of the other operand stands for axes that the weight does not have.
  const kinds = [...own].map((letter) => {
    const [isKept, isShared] = [result.includes(letter), other.includes(letter)];
    return isKept && isShared ? 'b' : isKept ? 'k' : isShared ? 's' : '?';
  });
  const text = kinds.join('');
  if (!/^b*(s+k+|k+s+)$/.test(text) || new Set(own).size !== own.length) return unknown;
  const product = (from: number, to: number): number =>
    shape.slice(from, to).reduce((total, dim) => total * dim, 1);
  const first = text.lastIndexOf('b') + 1;
  const second = first + (/^(s+|k+)/.exec(text.slice(first))?.[0].length ?? 0);
  return {
    batch: product(0, first),
    rows: product(first, second),
    columns: product(second, shape.length),
  };
}
