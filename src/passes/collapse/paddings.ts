import { affineOperator } from '../../affine/operators/index.js';
import { padsOfAxes, type ZeroPads, zeroPadsOf } from '../../affine/operators/pad.js';
import { isRefusal } from '../../affine/refusal.js';
import type { KnownConstants, Model, Node } from '../../graph/index.js';
import { type Window, windowOf } from '../../graph/operators/window.js';
import { opsetOf } from '../../graph/opsets.js';
import { removeIdentity } from './identities.js';
import { removeUnreadValue } from './remove-unread.js';

/** A Pad of zeros, and the convolutions and poolings that read it, with the pads that each can have instead. */
export interface Padding {
  readonly pad: Node;
  readonly readers: ReadonlyMap<Node, readonly number[]>;
}

/**
 * Pads of zeros all of whose readers can pad themselves: several convolutions (the filter and the gate of a WaveNet), or an
 * AveragePool, which exporters pad in front where it counts its padding. What one convolution alone reads is a region.
 *
 * @param exclude nodes to leave alone
 */
export function findPaddings(model: Model, exclude: ReadonlySet<Node>, constants: KnownConstants): Padding[] {
  return [model.graph, ...model.functions]
    .flatMap((root) => [...root.walk()])
    .flatMap((graph) => graph.nodes)
    .flatMap((pad) => paddingOf(pad, exclude, constants) ?? []);
}

function paddingOf(pad: Node, exclude: ReadonlySet<Node>, constants: KnownConstants): Padding | undefined {
  if (!pad.is('Pad') || exclude.has(pad)) return undefined;
  const operator = affineOperator(pad, constants);
  const zeros = operator === undefined || isRefusal(operator) ? operator : zeroPadsOf(pad, constants);
  if (zeros === undefined || isRefusal(zeros)) return undefined;
  const { graph } = pad;
  const [output = ''] = pad.outputs;
  const uses = graph.uses(output);
  if (uses.length === 0 || graph.isOutput(output)) return undefined;
  const readers = new Map<Node, readonly number[]>();
  for (const { node, index } of uses) {
    const pads =
      node.graph === graph && index === 0 && !exclude.has(node) ? padsOf(node, zeros, constants) : undefined;
    if (pads === undefined) return undefined;
    readers.set(node, pads);
  }
  const [first] = readers.keys();
  return readers.size === 1 && first?.is('Conv') ? undefined : { pad, readers };
}

/** The pads of a reader with those in front of it added; undefined where it cannot have them. */
function padsOf(reader: Node, zeros: ZeroPads, constants: KnownConstants): number[] | undefined {
  const { attributes } = reader;
  const window = windowOfReader(reader, constants);
  if (window === undefined || attributes.isReference('pads')) return undefined;
  const all = padsOfAxes(zeros, window.extents.length + 2);
  if (all === undefined || all.some((sides) => sides.some((pad) => pad < 0))) return undefined;
  if (all.slice(0, 2).some((sides) => sides.some((pad) => pad !== 0))) return undefined;
  const sides = all.slice(2);
  const pads = [0, 1].flatMap((side) =>
    sides.map((pair, axis) => (pair[side] ?? 0) + (window.pads[axis + side * sides.length] ?? 0)),
  );
  if (!reader.is('AveragePool')) return pads;
  // count_include_pad came with operator set 7.
  if (opsetOf(reader.graph) < 7) return undefined;
  // Runtimes take no pads of a pooling that are as long as its window.
  const isWithin = pads.every((pad, i) => pad < (window.extents[i % sides.length] ?? 0));
  const countsOwn = window.pads.every((pad) => pad === 0) || attributes.int('count_include_pad', 0) === 1;
  return isWithin && countsOwn && attributes.int('ceil_mode', 0) === 0 ? pads : undefined;
}

function windowOfReader(reader: Node, constants: KnownConstants): Window | undefined {
  if (reader.domain !== '' || !reader.is('Conv', 'AveragePool')) return undefined;
  const mode = reader.attributes.string('auto_pad', 'NOTSET');
  if (mode !== 'NOTSET' && mode !== 'VALID') return undefined;
  if (reader.is('AveragePool')) {
    const extents = reader.attributes.ints('kernel_shape');
    return extents && windowOf(reader, extents);
  }
  const weight = constants.operand(reader, 1);
  return 'reason' in weight ? undefined : windowOf(reader, weight.shape.slice(2));
}

/** Lets the readers of a Pad pad themselves, and takes the node away. */
export function removePadding({ pad, readers }: Padding): void {
  const { graph } = pad;
  const constants = pad.inputs.slice(1);
  for (const [reader, pads] of readers) {
    graph.setAttribute(reader, 'auto_pad', undefined);
    graph.setAttribute(reader, 'pads', { ints: pads });
    if (reader.is('AveragePool')) graph.setAttribute(reader, 'count_include_pad', { int: 1 });
  }
  removeIdentity(pad);
  for (const value of constants) removeUnreadValue(graph, value);
}
