/** Arithmetic on shapes. */

export function product(dims: readonly number[]): number {
  return dims.reduce((total, dim) => total * dim, 1);
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** The size of an axis; 1 for axes before the first, as broadcasting has them. */
function dimAt(shape: readonly number[], axis: number): number {
  return shape[axis] ?? 1;
}

/** The shape that numpy-style broadcasting gives. */
export function broadcastShapes(...shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    const sizes = shapes.map((shape) => dimAt(shape, axis - rank + shape.length));
    return sizes.find((size) => size !== 1) ?? 1;
  });
}

/** Axes counted from the front, in order, each once. */
export function normalAxes(axes: readonly number[], rank: number): number[] {
  return [...new Set(axes.map((axis) => normalAxis(axis, rank)))].sort((a, b) => a - b);
}

export function normalAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

export function range(start: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i);
}

/** The permutation that undoes another. */
export function inversePermutation(permutation: readonly number[]): number[] {
  const inverse = new Array<number>(permutation.length).fill(0);
  for (const [to, from] of permutation.entries()) inverse[from] = to;
  return inverse;
}

/** A shape with the given axes set to 1. */
export function keptDims(shape: readonly number[], axes: readonly number[]): number[] {
  return shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim));
}

/** The element at an index that the caller knows to be there. */
export function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new Error(`no element ${index}`);
  return item;
}
