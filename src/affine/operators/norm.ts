import type { ConstantValue, KnownConstants, Node } from '../../graph/index.js';
import { opsetOf } from '../../graph/opsets.js';
import type { Floats } from '../../linalg/floats.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import { placesInBroadcast } from '../map/broadcast.js';
import { isZero, readVector } from '../map/channel-vector.js';
import type { AxisLayout } from '../map/layout.js';
import { identityAt, wrongAxis } from '../map/place.js';
import { diagonal } from '../map/values.js';
import { type Refusal, refuse } from '../refusal.js';
import type { MapOperator } from '../rule.js';
import { floatOperand } from './operand.js';

/** BatchNormalization in inference: gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe & Szegedy 2015, algorithm 2). */
export function batchNormalization(node: Node, constants: KnownConstants): MapOperator | Refusal {
  const operands = [1, 2, 3, 4].map((index) => floatOperand(node, index, constants));
  const bad = operands.find((operand) => 'kind' in operand);
  if (bad !== undefined && 'kind' in bad) return bad;
  const [scale, shift, mean, variance] = operands as ConstantValue[];
  if (scale === undefined || shift === undefined || mean === undefined || variance === undefined) {
    return refuse('operand', `'${node.label}' lacks inputs`);
  }
  const size = scale.shape[0] ?? 0;
  const isVector = [scale, shift, mean, variance].every(
    ({ shape }) => shape.length === 1 && shape[0] === size,
  );
  if (!isVector) return refuse('operand', `the statistics of '${node.label}' are not one number a channel`);
  const { attributes } = node;
  const opset = opsetOf(node.graph);
  // Between operator sets 7 and 13 nothing but the outputs tells: only training has more than one.
  if (opset >= 7 && opset < 14 && node.outputs.slice(1).some((output) => output !== ''))
    return refuse(
      'unsupported',
      `'${node.label}' (BatchNormalization) has the outputs of training mode, in which it computes the statistics of its batch`,
    );
  const epsilon = epsilonOf(node);
  return {
    node,
    data: [node.inputs[0] ?? ''],
    constants: [scale, shift, mean, variance],
    pointwise: 'normalization',
    channels: size,
    mayMixTypes: true,
    isTraining: attributes.int('training_mode', 0) === 1 || (opset < 7 && attributes.int('is_test', 0) === 0),
    details: { factors: { scale, variance, epsilon }, summands: { shift, mean } },
    geometry: (channels, place) => {
      const { parts, axes } = place;
      const isBroadcast =
        parts !== undefined && placesInBroadcast(parts, shapeBeside(size, parts), channels) !== undefined;
      if (!axes.has('channel') && !isBroadcast) return wrongAxis(node);
      return {
        ...identityAt(place, isBroadcast ? channels : size),
        hasBias: true,
        isShifted: !(isZero(shift) && isZero(mean)),
      };
    },
    values: async (geometry, { parts: layout }) => {
      const { outputs } = geometry;
      const parts = layout && { layout, shape: shapeBeside(size, layout) };
      const [gamma, beta, means, variances] = [
        await readVector(scale, outputs, parts),
        await readVector(shift, outputs, parts),
        await readVector(mean, outputs, parts),
        await readVector(variance, outputs, parts),
      ];
      const factors = gamma.map((factor, i) => factor / Math.sqrt((variances[i] as number) + epsilon));
      const bias = factors.map((factor, i) => (beta[i] as number) - (means[i] as number) * factor);
      return diagonal(geometry, factors, bias);
    },
    work: ({ outputs }) => outputs,
  };
}

/** The shape of one number a channel of axis 1 beside a value. */
function shapeBeside(channels: number, { axes }: AxisLayout): number[] {
  return [channels, ...axes.slice(2).map(() => 1)];
}

function epsilonOf({ attributes }: Node): number {
  return attributes.float('epsilon', Math.fround(1e-5));
}

/** What a BatchNormalization knows of its input. */
export async function statisticsOf(
  norm: Node,
): Promise<{ readonly mean: Floats; readonly variance: Floats; readonly epsilon: number }> {
  const [mean, variance] = [
    await evaluateConstant(norm.graph, norm.inputs[3] ?? ''),
    await evaluateConstant(norm.graph, norm.inputs[4] ?? ''),
  ];
  return { mean: mean.floats(), variance: variance.floats(), epsilon: epsilonOf(norm) };
}
