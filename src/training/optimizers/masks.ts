import { Tensor } from '../../graph/index.js';
import type { Builder } from '../../passes/gradient/builder.js';
import type { Mask } from '../../passes/gradient/index.js';
import { product } from '../../passes/gradient/shapes.js';
import { Random } from '../../runtime/index.js';

/** How many more factors a table holds than the largest mask takes: so many different masks there are. */
const SPREAD = 1 << 18;

/** Dropout whose masks follow from the seed and the number of the step alone, on every provider. */
export interface Masks {
  /** int64 [masks]: where each mask begins in its table. */
  readonly input: string;
  readonly tables: readonly Tensor[];
  /** The `input` of a step, counted from 0. */
  starts(step: number): number[];
}

/**
 * Masks as slices of tables of random factors, at random places that the caller draws for each step. onnxruntime's own
 * generator counts its calls, so that a run which goes on from a checkpoint could not draw the same again; a slice is
 * quicker besides.
 *
 * @param build gets the nodes that make the masks, which have to stand before all that read them
 */
export function sliceMasks(
  build: Builder,
  masks: readonly Mask[],
  fresh: (name: string) => string,
  seed: number,
): Masks | undefined {
  if (masks.length === 0) return undefined;
  const input = fresh('dropout/starts');
  const lengths = new Map<number, number>();
  for (const { ratio, shape } of masks) {
    lengths.set(ratio, Math.max(lengths.get(ratio) ?? 0, product(shape) + SPREAD));
  }
  const tables = new Map([...lengths].map(([ratio, length]) => [ratio, table(ratio, length, fresh, seed)]));
  const rooms = masks.map((mask, index) => {
    const source = tables.get(mask.ratio) as Tensor;
    const size = product(mask.shape);
    build.scope = `dropout/${index}`;
    const all = { name: input, type: 'int64', shape: [masks.length] } as const;
    const start = build.op('Gather', [all, build.ints([index])], [1], { axis: { int: 0 } });
    const from = { name: source.name, type: 'float32', shape: source.shape } as const;
    const end = build.add(start, build.ints([size]));
    const slice = build.op('Slice', [from, start, end, build.ints([0])], [size]);
    const shaped = build.cast(build.op('Reshape', [slice, build.ints(mask.shape)], mask.shape), mask.type);
    build.nodes.push({ opType: 'Identity', inputs: [shaped.name], outputs: [mask.name] });
    return source.size - size;
  });
  return {
    input,
    tables: [...tables.values()],
    starts: (step) =>
      rooms.map((room, index) => new Random(seed, `dropout ${step} ${index}`).integer(room + 1)),
  };
}

function table(ratio: number, length: number, fresh: (name: string) => string, seed: number): Tensor {
  const random = new Random(seed, `dropout table ${ratio}`);
  const kept = ratio < 1 ? 1 / (1 - ratio) : 0;
  const data = Float32Array.from({ length }, () => (random.uniform() < ratio ? 0 : kept));
  return Tensor.of(fresh(`dropout/factors/${ratio}`), 'float32', [length], data);
}
