import { type LinearSite, taps } from '../affine/linear-site.js';
import { findExpandableSites } from '../affine/linear-sites.js';
import {
  type DataType,
  isFloatType,
  type Model,
  modelToBytes,
  Tensor,
  tensorProtos,
} from '../graph/index.js';
import type { Shapes } from './calibration/samples.js';

/** Elements of the floating-point tensors of a file, or of those of one type: what is stored, each once. */
export function storedParameters(model: Model, type?: DataType): number {
  let sum = 0;
  for (const proto of tensorProtos(model.proto)) {
    const { dataType, size } = new Tensor(proto);
    if (type === undefined ? isFloatType(dataType) : dataType === type) sum += size;
  }
  return sum;
}

/** Bytes of the file and of external data. */
export function storedBytes(model: Model): number {
  let external = 0;
  let inline = 0;
  for (const proto of tensorProtos(model.proto)) {
    const tensor = new Tensor(proto);
    if (tensor.isExternal) external += tensor.byteLength;
    else inline += tensor.byteLength;
  }
  // A large model is not serialized to be measured.
  return external + (inline > LARGE ? inline : modelToBytes(model).length);
}

const LARGE = 512 << 20;

/** Multiply-adds of a linear node for one sample; 0 where its shape is not known. */
export function siteMultiplyAdds(site: LinearSite, shapes: Shapes): number {
  const out = shapes.get(site.node.outputs[0] ?? '');
  if (out === undefined) return 0;
  if (site.op === 'Conv')
    return site.outputs * site.inputs * site.groups * taps(site.kernel) * taps(out.slice(2));
  if (site.op === 'ConvTranspose') {
    const input = shapes.get(site.data)?.slice(2) ?? [];
    return site.size * taps(input);
  }
  return taps(out) * site.inputs;
}

/** The values that the multiply-adds of all linear nodes of the main graph follow from. */
export function costValues(model: Model): {
  readonly sites: readonly LinearSite[];
  readonly values: readonly string[];
} {
  const sites = findExpandableSites(model).sites.filter(({ node }) => node.graph === model.graph);
  return { sites, values: sites.flatMap((site) => [site.data, site.node.outputs[0] ?? '']) };
}
