import { EPSILON } from '../../graph/index.js';
import type { Reason } from '../../graph/skipped.js';
import { decompose } from '../../linalg/decompose.js';
import { type Floats, joined, transposed } from '../../linalg/floats.js';
import type { Matrix } from '../../linalg/matmul.js';
import type { Random } from '../../runtime/index.js';
import type { OutInFactors } from './products.js';
import { columnsOf, type Slot } from './slots.js';

/**
 * Factors that change nothing: the first uniform within ± 1 / √fan-in, as PEFT draws it (Kaiming's with a = √5), a middle one the
 * identity, the last zero.
 */
export function zeroFactors(slot: Slot, rank: number, count: number, random: Random): OutInFactors {
  const { groups, outputs } = slot;
  const columns = columnsOf(slot);
  const bound = 1 / Math.sqrt(columns);
  const first = Float32Array.from(
    { length: groups * rank * columns },
    () => bound * (2 * random.uniform() - 1),
  );
  const middle = Array.from({ length: count - 2 }, () => identities(groups, rank));
  return [first, ...middle, new Float32Array(groups * outputs * rank)];
}

function identities(groups: number, rank: number): Float32Array {
  const data = new Float32Array(groups * rank * rank);
  for (let group = 0; group < groups; group += 1)
    for (let i = 0; i < rank; i += 1) data[(group * rank + i) * rank + i] = 1;
  return data;
}

/** The leading singular directions of a layer's weight, over the scale: each factor has the same share of the singular values. */
export async function pissaFactors(
  slot: Slot,
  rank: number,
  count: number,
  scale: number,
): Promise<OutInFactors | Reason> {
  const { site, outputs } = slot;
  if (site === undefined) return { reason: 'its weight is quantized: only `init: zero` goes beside it' };
  const { type, matrices } = await site.matrices();
  const lists: [Floats[], Floats[], Floats[]] = [[], [], []];
  for (const source of matrices) {
    const parts = await decompose(source, EPSILON[type]);
    const { values } = parts;
    const found = Math.min(rank, values.length);
    const shares = values.map((value, i) => (i < rank ? (value / scale) ** (1 / count) : 0));
    const tall = leading(await parts.left(shares), found, rank, 'columns');
    const wide = leading(await parts.right(shares), found, rank, 'rows');
    source.letGo?.();
    const isOutIn = site.orientation === 'out-in';
    lists[0].push(isOutIn ? wide : transposed(tall, tall.length / rank));
    lists[2].push(isOutIn ? tall : transposed(wide, rank));
    const middle = new Float64Array(rank * rank);
    for (let i = 0; i < found; i += 1) middle[i * rank + i] = shares[i] as number;
    lists[1].push(middle);
  }
  const [first, middle, last] = lists.map(joined) as [Floats, Floats, Floats];
  if (last.length !== slot.groups * outputs * rank) throw new RangeError('the sizes of factors do not fit');
  return count === 2 ? [first, last] : [first, middle, last];
}

/** The first columns or rows of a matrix, as many as the rank; zeros behind those that it has. */
function leading(
  { rows, columns, data }: Matrix,
  found: number,
  rank: number,
  side: 'rows' | 'columns',
): Floats {
  if (side === 'rows') {
    const kept = new Float64Array(rank * columns);
    kept.set(data.subarray(0, found * columns));
    return kept;
  }
  const kept = new Float64Array(rows * rank);
  for (let i = 0; i < rows; i += 1)
    for (let j = 0; j < found; j += 1) kept[i * rank + j] = data[i * columns + j] as number;
  return kept;
}
