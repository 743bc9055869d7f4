import { isBatched, type Link } from '../../affine/chains/link.js';
import type { Chain } from '../../affine/chains/match.js';
import { inputsPerGroup } from '../../affine/chains/site-size.js';
import { type FloatType, narrow, Tensor } from '../../graph/index.js';
import { biasShape, foldedNodes } from './fold.js';
import { compareNodes, type ProbePlace } from './probe.js';

/**
 * Runs a chain's nodes and the one that they become in onnxruntime, on one random input; call it before the chain is
 * replaced.
 *
 * @param weight the product
 * @param bias of the product, where that is not the last node's own
 * @returns max |Δ| / max |y|
 */
export function probeChain(
  chain: Chain,
  weight: Tensor,
  bias: Float64Array | undefined,
  place: ProbePlace = {},
): Promise<number> {
  const { links, whole } = chain;
  const [first, last] = [links[0] as Link, links.at(-1) as Link];
  const type = weight.dataType as FloatType;
  const source = first.node.inputs[1 - first.site.weightInput] ?? '';
  const output = whole?.output ?? last.node.outputs[0] ?? '';
  const after = foldedNodes(chain, {
    node: 'probe',
    weight: 'probe/weight',
    bias: bias && 'probe/bias',
    output,
    fresh: (base) => `probe/${base}`,
  });
  const constants = [weight.renamed('probe/weight')];
  if (bias) constants.push(Tensor.of('probe/bias', type, biasShape(chain, bias.length), narrow(type, bias)));
  // A bias that differs from row to row, or is computed, stays as it is: the last node's in both.
  const open = last.hasOpenBias ? last.node.inputs[2] : undefined;
  if (open) constants.push(Tensor.of(open, type, [1], narrow(type, new Float64Array(1))));
  return compareNodes(
    {
      graph: first.node.graph,
      source,
      output,
      type,
      shape: inputShape(links, whole),
      before: whole?.nodes ?? links.map((link) => link.node),
      after,
      constants,
    },
    place,
  );
}

const BATCH = 2;

function inputShape(links: readonly Link[], whole: Chain['whole']): number[] {
  const { site, node } = links[0] as Link;
  const inputs = inputsPerGroup(site) * (isBatched(site) ? 1 : site.groups);
  if (site.op === 'Conv' || site.op === 'ConvTranspose') {
    const sizes = site.weight.shape.slice(2).map((_, axis) => {
      let reach = 1;
      let step = 1;
      for (const link of links) {
        const { attributes } = link.node;
        reach += step * ((link.site.kernel[axis] ?? 1) - 1) * (attributes.ints('dilations')?.[axis] ?? 1);
        step *= attributes.ints('strides')?.[axis] ?? 1;
      }
      return Math.max(11 + 2 * axis, reach + 2 * step);
    });
    return [BATCH, inputs, ...sizes];
  }
  if (node.is('Gemm') && node.attributes.int('transA', 0) === 1) return [inputs, BATCH];
  // BatchNormalization looks at the second axis, Gemm takes no more than two.
  const hasNorm = whole?.steps.some(({ norm }) => norm !== undefined) === true;
  const isFlat = hasNorm || links.some((link) => link.site.op === 'Gemm');
  const isLeft = site.op === 'MatMul' && site.weightInput === 0;
  const outer = (whole?.rank ?? (isFlat ? 2 : 3)) - 2;
  const batch = isBatched(site) ? site.weight.shape.slice(0, -2) : new Array<number>(outer).fill(BATCH);
  return isLeft ? [...batch, inputs, 3] : [...batch, 3, inputs];
}
