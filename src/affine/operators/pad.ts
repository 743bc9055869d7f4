import type { KnownConstants, Node } from '../../graph/index.js';
import { identityAt, windowInSource, wrongAxis } from '../map/place.js';
import { diagonal } from '../map/values.js';
import { isRefusal, type Refusal, refuse } from '../refusal.js';
import type { MapOperator } from '../rule.js';

/** What a Pad of zeros adds. */
export interface ZeroPads {
  /** Before each of the axes, then behind each. */
  readonly pads: readonly number[];
  /** The axes, counted from the last where negative; undefined for all. */
  readonly axes: readonly number[] | undefined;
}

/** Pad with zeros. */
export function zeroPad(node: Node, constants: KnownConstants): MapOperator | Refusal {
  const zeros = zeroPadsOf(node, constants);
  if (isRefusal(zeros)) return zeros;
  return {
    node,
    data: [node.inputs[0] ?? ''],
    constants: [],
    details: { factors: { ...zeros } },
    geometry: (channels, place) => {
      const pads = padsOfAxes(zeros, place.rank ?? 0);
      if (!place.axes.has('channel') || pads === undefined) return wrongAxis(node);
      const padsOthers = pads.slice(0, 2).some(([low, high]) => low !== 0 || high !== 0);
      if (padsOthers) return refuse('unsupported', `'${node.label}' (Pad) pads the batch or the channels`);
      const sides = pads.slice(2);
      const windowed = windowInSource(
        {
          taps: [sides.map(([before]) => 0 - before)],
          stride: sides.map(() => 1),
          slack: sides.map(([before, behind]) => before + behind),
        },
        place,
        node,
      );
      return isRefusal(windowed) ? windowed : { ...identityAt(place, channels), ...windowed };
    },
    values: async (geometry) => diagonal(geometry, new Float64Array(geometry.outputs).fill(1)),
    work: () => 0,
  };
}

/** The zeros that a Pad adds, or why it adds something else, or that is not known. */
export function zeroPadsOf(node: Node, constants: KnownConstants): ZeroPads | Refusal {
  const { attributes } = node;
  const unsupported = (why: string): Refusal => refuse('unsupported', `'${node.label}' (Pad) ${why}`);
  if (attributes.string('mode', 'constant') !== 'constant')
    return unsupported('does not pad with a constant');
  const value = ((): number | undefined => {
    if (!node.inputs[2]) return attributes.float('value', 0);
    const found = constants.operand(node, 2);
    if ('reason' in found || found.root === undefined || found.root.size !== 1) return undefined;
    return Number(found.root.array()[0]);
  })();
  if (value !== 0) return unsupported('pads with something else than zeros');
  const pads = attributes.ints('pads') ?? attributes.ints('paddings') ?? constants.integers(node, 1);
  if (pads === undefined) return unsupported('has pads that are no constants');
  const axes = node.inputs[3] ? constants.integers(node, 3) : undefined;
  if (node.inputs[3] && axes === undefined) return unsupported('has axes that are no constants');
  return { pads, axes };
}

/** Pads before and behind each axis; undefined for pads that do not fit the rank. */
export function padsOfAxes({ pads, axes }: ZeroPads, rank: number): [number, number][] | undefined {
  const named = axes ?? Array.from({ length: rank }, (_, axis) => axis);
  if (pads.length !== 2 * named.length) return undefined;
  const all = Array.from({ length: rank }, (): [number, number] => [0, 0]);
  for (const [i, axis] of named.entries()) {
    const at = axis < 0 ? axis + rank : axis;
    if (all[at] === undefined) return undefined;
    all[at] = [pads[i] ?? 0, pads[i + named.length] ?? 0];
  }
  return all;
}
