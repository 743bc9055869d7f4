import { composedKernel } from './compose-kernels.js';
import { type AttributeProtos, attributesOfKernels } from './kernel-attributes.js';
import { isBatched, isKernelChain, isSpatial, type Link, outputsOf } from './link.js';

/** The shape of the weight that a chain multiplies out to, in the layout of its last node. */
export function foldedShape(links: readonly Link[]): number[] {
  const first = links[0] as Link;
  const last = links.at(-1) as Link;
  if (last.site.op === 'Conv') {
    const kernel = isKernelChain(links) ? composedKernel(links) : carrierOf(links).site.kernel;
    return [last.site.rows, first.site.weight.shape[1] ?? 0, ...kernel];
  }
  if (last.site.op === 'ConvTranspose')
    return [first.site.rows, last.site.weight.shape[1] ?? 0, ...carrierOf(links).site.kernel];
  if (isBatched(last.site)) {
    const batch = last.site.weight.shape.slice(0, -2);
    const [from, to] =
      first.site.orientation === 'in-out' ? [first.site, last.site] : [last.site, first.site];
    return [...batch, from.rows / from.groups, to.columns];
  }
  const inputs = first.site.orientation === 'out-in' ? first.site.columns : first.site.rows;
  const outputs = outputsOf(last.site);
  return last.site.orientation === 'out-in' ? [outputs, inputs] : [inputs, outputs];
}

/** The convolution whose kernel, stride and padding the result has. */
function carrierOf(links: readonly Link[]): Link {
  return links.find((link) => isSpatial(link.site)) ?? (links[0] as Link);
}

/** The attributes of the one convolution: those of the chain of kernels, or of the node that has the kernel. */
export function convolutionAttributes(links: readonly Link[]): AttributeProtos {
  if (!isKernelChain(links)) return carrierOf(links).node.proto.attribute ?? [];
  return attributesOfKernels(
    links.map(({ node, site }) => ({ node, kernel: site.kernel })),
    links[0]?.note?.attributes ?? '',
  );
}
