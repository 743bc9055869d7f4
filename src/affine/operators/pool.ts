import type { Node } from '../../graph/index.js';
import { windowOf, windowProblem } from '../../graph/operators/window.js';
import { kernelSize } from '../map/geometry.js';
import { forwardWindow, identityAt, windowInSource, wrongAxis } from '../map/place.js';
import { isRefusal, type Refusal, refuse } from '../refusal.js';
import type { MapOperator } from '../rule.js';

/** AveragePool, where each of its windows has as many elements. */
export function averagePool(node: Node): MapOperator | Refusal {
  const { attributes } = node;
  const window = windowOf(node, attributes.ints('kernel_shape') ?? []);
  const inexact = (what: string): Refusal => refuse('inexact', `'${node.label}' (AveragePool) ${what}`);
  const problem = windowProblem(window);
  if (problem !== undefined) return refuse('operand', `'${node.label}' (AveragePool) ${problem}`);
  if (attributes.int('ceil_mode', 0) === 1)
    return inexact("rounds its output's size up, so that its last windows are shorter");
  const isPadded = window.auto !== undefined || window.pads.some((pad) => pad !== 0);
  if (isPadded && attributes.int('count_include_pad', 0) === 0)
    return inexact('does not count its padding, so that its border differs');
  return {
    node,
    data: [node.inputs[0] ?? ''],
    constants: [],
    details: { factors: { window } },
    geometry: (channels, place) => {
      if (!place.axes.has('channel') || window.extents.length + 2 !== place.rank) return wrongAxis(node);
      const windowed = windowInSource(forwardWindow(window), place, node);
      return isRefusal(windowed) ? windowed : { ...identityAt(place, channels), ...windowed };
    },
    values: async (geometry) => {
      const { outputs, taps } = geometry;
      const kernel = new Float64Array(outputs * taps.length).fill(1 / taps.length);
      return { geometry, kernel, layout: 'out-in', bias: undefined };
    },
    work: kernelSize,
  };
}
