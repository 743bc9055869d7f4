import type { Matrix } from '../../linalg/index.js';
import type { StoredUse, WeightUser } from './types.js';
import type { WeightData } from './weight-data.js';
import { type WeightList, type WeightStore, weightsOfStore } from './weight-store.js';
import { elementsOf, type Overlooked, type WeightMatrix } from './weights.js';

/** A weight before and after a training, and what the training added. */
export interface WeightPair {
  readonly before: WeightMatrix<StoredUse>;
  readonly after: WeightMatrix<StoredUse>;
  /** after - before, which is computed when it is read. Of an adapter, its product. */
  readonly delta: WeightMatrix<StoredUse>;
}

export interface WeightDelta extends WeightList {
  readonly pairs: readonly WeightPair[];
}

/**
 * What each weight of `after` is more than its namesake in `before`, W1 - W0. Where `after` is an adapter, that is its product. Weights of
 * one name are paired in their order; those without a partner, or of another shape, are among the others. Reads no weights.
 *
 * @throws ModelError as weightsOfStore
 * @example
 * const { pairs } = await weightDelta(await readModel('base.onnx'), await readModel('tuned.onnx'));
 */
export async function weightDelta(before: WeightStore, after: WeightStore): Promise<WeightDelta> {
  const [first, second] = [await weightsOfStore(before), await weightsOfStore(after)];
  const rest = new Map<string, WeightMatrix<StoredUse>[]>();
  for (const weight of first.weights) rest.set(weight.name, [...(rest.get(weight.name) ?? []), weight]);
  const pairs: WeightPair[] = [];
  const others: Overlooked<WeightUser>[] = [...second.others];
  for (const weight of second.weights) {
    const { node } = weight.uses[0];
    const base = rest.get(weight.name)?.shift();
    if (base === undefined) others.push({ node, reason: `'${weight.name}' is in ${nameOf(after)} alone` });
    else if (!isAlike(base, weight)) {
      const reason = `'${weight.name}' was ${base.rows} x ${base.columns} and is ${weight.rows} x ${weight.columns}`;
      others.push({ node, reason });
    } else pairs.push({ before: base, after: weight, delta: difference(base, weight) });
  }
  const isAdapter = pairs.some(({ after: { uses } }) => uses[0].data.factors !== undefined);
  for (const weight of isAdapter ? [] : [...rest.values()].flat())
    others.push({ node: weight.uses[0].node, reason: `'${weight.name}' is in ${nameOf(before)} alone` });
  return { path: after.path, pairs, weights: pairs.map(({ delta }) => delta), others };
}

function nameOf({ path }: WeightStore): string {
  return path ?? 'one model';
}

function isAlike(a: WeightMatrix<StoredUse>, b: WeightMatrix<StoredUse>): boolean {
  const isTurned =
    a.rows === b.columns && a.columns === b.rows && a.shape.length === 2 && b.shape.length === 2;
  return (a.rows === b.rows && a.columns === b.columns && a.shape.join() === b.shape.join()) || isTurned;
}

/** The elements of a weight as rows x columns of another one's, for a matrix may be stored transposed. */
export async function matrixLike(
  weight: WeightMatrix<StoredUse>,
  { rows, columns }: Pick<WeightMatrix<StoredUse>, 'rows' | 'columns'>,
): Promise<Matrix> {
  const { m, n, read } = elementsOf(weight);
  const { data } = await read();
  // A square matrix has the layout of its pair unless it is read the other way round.
  const isTurned = m !== n ? m !== rows : weight.uses[0].data.isTransposed;
  if (!isTurned) return { rows, columns, data };
  const turned = data instanceof Float32Array ? new Float32Array(data.length) : new Float64Array(data.length);
  for (let i = 0; i < m; i += 1) for (let j = 0; j < n; j += 1) turned[j * m + i] = data[i * n + j] as number;
  return { rows, columns, data: turned };
}

function difference(
  before: WeightMatrix<StoredUse>,
  after: WeightMatrix<StoredUse>,
): WeightMatrix<StoredUse> {
  const [use] = after.uses;
  if (use.data.factors !== undefined) return after;
  const { name, rows, columns, shape } = before;
  const read = async (): Promise<Float32Array | Float64Array> => {
    const [old, fresh] = [await matrixLike(before, before), await matrixLike(after, before)];
    // Of two float32 numbers near each other the difference is exact; float64 holds all of them.
    const result = new Float64Array(old.data.length);
    for (let i = 0; i < result.length; i += 1)
      result[i] = (fresh.data[i] as number) - (old.data[i] as number);
    return result;
  };
  const data: WeightData = {
    name,
    shape,
    dataType: use.data.dataType,
    owner: use.data.owner,
    key: `delta ${use.data.key}`,
    isTransposed: false,
    read: async (start, count) => {
      const all = await read();
      return start === undefined
        ? { data: all, isOwn: true }
        : { data: all.subarray(start, start + (count ?? all.length)), isOwn: false };
    },
  };
  const [{ node, op, conv }] = before.uses;
  return {
    name,
    shape,
    rows,
    columns,
    dataType: use.data.dataType,
    uses: [{ node, op, data, rows, columns, shape, ...(conv && { conv }) }],
  };
}
