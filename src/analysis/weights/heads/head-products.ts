import type { DataType } from '../../../graph/index.js';
import type { Matrix } from '../../../linalg/index.js';
import type { ThinFactor } from '../../../linalg/thin-product.js';
import { sliceElements } from '../../spectra/conv-spectrum.js';
import type { StoredUse } from '../types.js';
import { isCheckpoint, type WeightList, type WeightStore, weightsOfStore } from '../weight-store.js';
import { elementsOf, type WeightMatrix } from '../weights.js';
import type { AttentionLayer, Projection } from './attention-layer.js';
import { checkpointAttention } from './checkpoint-attention.js';
import { modelAttention } from './model-attention.js';

/** Weights that are kept while heads are worked on: those of two layers. */
const KEPT = 8;

/**
 * The products that each attention head works by: W_Q W_Kᵀ, by which it compares tokens, and W_V W_O, by which it moves what they hold
 * (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits). Both are hidden x hidden of the rank of a head at most, and
 * never formed: their factors are given. Grouped queries share keys and values. Where positions are rotated the first product is
 * that of tokens at one position, which is among the others.
 *
 * @throws ModelError as weightsOfStore
 * @example
 * const { weights, others } = await headProducts(model);
 */
export async function headProducts(store: WeightStore): Promise<WeightList> {
  const found = await weightsOfStore(store, { chains: 'product' });
  const { layers, others } = isCheckpoint(store)
    ? checkpointAttention(store, found)
    : 'graph' in store
      ? modelAttention(store, found)
      : { layers: [], others: [] };
  const wholes = new Whole();
  const weights = layers.flatMap((layer) =>
    Array.from({ length: layer.heads }, (_, head) => productsOf(layer, head, wholes)).flat(),
  );
  const notes = layers.flatMap(({ name, leftOut }) =>
    leftOut.map((reason) => ({ node: { label: name, opType: 'Attention' }, reason })),
  );
  return { path: store.path, weights, others: [...others, ...notes] };
}

function productsOf(layer: AttentionLayer, head: number, wholes: Whole): WeightMatrix<StoredUse>[] {
  const { name, heads, kvHeads, headSize, query, key, value, output } = layer;
  const shared = Math.floor((head * kvHeads) / heads);
  const factor = (projection: Projection, index: number) => (): Promise<ThinFactor> =>
    headOf(projection, projection.start(index), headSize, wholes);
  const make = (
    kind: string,
    op: string,
    left: readonly [Projection, number],
    right: readonly [Projection, number],
  ): WeightMatrix<StoredUse> => {
    const [rows, columns] = [otherExtent(left[0]), otherExtent(right[0])];
    const data = {
      name,
      shape: [rows, columns],
      dataType: left[0].weight.dataType as DataType,
      owner: layer,
      key: `${kind} ${head}`,
      isTransposed: false,
      read: async () => ({ data: (await factor(...left)()).matrix.data, isOwn: false }),
      factors: async () => [await factor(...left)(), await factor(...right)()] as const,
    };
    const use: StoredUse = { node: { label: name, opType: op }, op, data, rows, columns };
    return {
      name: `${name}[${kind},${head}]`,
      uses: [use],
      shape: [rows, columns],
      rows,
      columns,
      dataType: data.dataType,
    };
  };
  return [
    make('qk', 'W_Q W_K', [query, head], [key, shared]),
    ...(output === undefined ? [] : [make('ov', 'W_V W_O', [value, shared], [output, head])]),
  ];
}

function otherExtent({ weight, axis }: Projection): number {
  return axis === 'rows' ? weight.columns : weight.rows;
}

/** The rows or columns of one head, with the head as the inner axis. */
async function headOf(
  { weight, axis }: Projection,
  start: number,
  size: number,
  wholes: Whole,
): Promise<ThinFactor> {
  const { m, n, data } = await wholes.read(weight);
  // What is read may be the transpose of the weight.
  const isTurned = weight.uses[0].part === undefined && weight.uses[0].data.isTransposed;
  const side = isTurned ? (axis === 'rows' ? 'columns' : 'rows') : axis;
  const matrix: Matrix =
    side === 'rows'
      ? { rows: size, columns: n, data: data.subarray(start * n, (start + size) * n) }
      : {
          rows: m,
          columns: size,
          data: sliceElements(data, {
            start,
            rows: m,
            columns: size,
            rowStride: n,
            columnStride: 1,
            offset: [],
          }),
        };
  return { matrix, inner: side };
}

/** Weights as they are read, the last few of them. */
class Whole {
  readonly #known = new Map<
    WeightMatrix<StoredUse>,
    Promise<{ readonly m: number; readonly n: number; readonly data: Float32Array | Float64Array }>
  >();

  read(weight: WeightMatrix<StoredUse>) {
    const known = this.#known.get(weight);
    if (known !== undefined) return known;
    const { m, n, read } = elementsOf(weight);
    const reading = read().then(({ data }) => ({ m, n, data }));
    this.#known.set(weight, reading);
    const [oldest] = this.#known.keys();
    if (this.#known.size > KEPT && oldest !== undefined) this.#known.delete(oldest);
    return reading;
  }
}
