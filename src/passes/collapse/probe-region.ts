import { gridOf } from '../../affine/map/geometry.js';
import type { Region } from '../../affine/match/region.js';
import { RELABELLING } from '../../affine/relabel.js';
import { narrow, Tensor } from '../../graph/index.js';
import { foldedNodes, foldedValues, vectorShape } from './fold-region.js';
import { compareNodes, type ProbePlace } from './probe.js';

/** How a region's nodes and what they become compare on one random input. */
export interface Probe {
  /** Shape of the input. */
  readonly shape: readonly number[];
  /** max |Δ| / max |y|. */
  readonly relativeDifference: number;
}

const BATCH = 2;

/**
 * Runs a region's nodes and the node that they would become in onnxruntime, on the same normal random input: a batch
 * of two, with odd sizes along windows. Whatever the place has no kernel for, the CPU runs.
 * BatchNormalization runs in inference form. Call it before foldRegion.
 *
 * @throws ModelError where onnxruntime does not run an operator in the region's element type
 */
export async function probeRegion(region: Region, place: ProbePlace = {}, seed = 0): Promise<Probe> {
  const { source, output, frame, nodes, graph } = region;
  const shape = inputShape(region);
  const folded = await foldedValues(region);
  const tensor = (name: string, dims: readonly number[], data: Float32Array | Float64Array): Tensor =>
    Tensor.of(name, frame.type, dims, narrow(frame.type, data));
  let count = 0;
  const fresh = (base: string): string => {
    count += 1;
    return `probe/${count}/${base}`;
  };
  const names = { weight: 'probe/weight', bias: folded.bias && 'probe/bias', fresh };
  const comparison = {
    graph,
    source,
    output,
    type: frame.type,
    shape,
    before: nodes,
    after: foldedNodes(region, folded, names, 'probe'),
    constants: [
      tensor('probe/weight', folded.shape, folded.weight),
      ...(folded.bias ? [tensor('probe/bias', vectorShape(region), folded.bias)] : []),
    ],
  };
  return { shape, relativeDifference: await compareNodes(comparison, place, seed) };
}

/** Where axes are relabelled sizes may have to be what they are. */
function inputShape(region: Region): number[] {
  const { shape, nodes, head } = region;
  if (head.length > 0) return arrangedShape(region);
  const chosen = freeShape(region);
  if (!nodes.some((node) => node.is(...RELABELLING))) return chosen;
  return chosen.map((size, axis) => {
    const known = shape?.[axis];
    return typeof known === 'number' ? known : size;
  });
}

/** Of a source that is given other axes first: what the graph does not tell makes up for the channels. */
function arrangedShape({ shape = [], plan, frame }: Region): number[] {
  const [, ...rest] = shape;
  if (frame.axis === 'channel')
    return shape.map((size, axis) => (typeof size === 'number' ? size : 2 + 9 * axis));
  const known = rest.reduce<number>((product, size) => product * (typeof size === 'number' ? size : 1), 1);
  let missing = plan.geometry.inputs / known;
  return shape.map((size, axis) => {
    if (typeof size === 'number') return size;
    if (axis === 0) return BATCH;
    const chosen = missing;
    missing = 1;
    return chosen;
  });
}

function freeShape({ frame, plan }: Region): number[] {
  const { inputs, isTransposed, stride } = plan.geometry;
  if (frame.axis === 'channel') {
    const { extents, dilations } = gridOf(plan.geometry);
    const sizes = extents.map((extent, axis) => {
      const least = (extent - 1) * (dilations[axis] ?? 1) + 2 * (stride[axis] ?? 1);
      return Math.max(11 + 2 * axis, least + ((least + 1) % 2));
    });
    return [BATCH, inputs, ...sizes];
  }
  if (isTransposed) return [inputs, BATCH];
  const rank = Math.max(2, frame.rank ?? (frame.axis === 'left' ? 3 : 2));
  const outer = [BATCH, ...Array.from({ length: rank - 2 }, (_, axis) => 3 + 2 * axis)];
  return frame.axis === 'last' ? [...outer, inputs] : [...outer.slice(0, -1), inputs, 5];
}
