import type { Net } from './net.js';

/** RepVGG: 3x3 + BN, 1x1 + BN, and BN alone (Ding et al., CVPR 2021, figure 4). */
export function repVgg(
  net: Net,
  x: string,
  options: { outputs?: number; stride?: number; groups?: number } = {},
): string {
  const c = net.channels(x);
  const { outputs = c, stride = 1, groups = 1 } = options;
  const branches = [
    net.norm(net.conv(x, outputs, { kernel: 3, pads: 1, stride, groups })),
    net.norm(net.conv(x, outputs, { kernel: 1, stride, groups })),
  ];
  if (outputs === c && stride === 1) branches.push(net.norm(x));
  return net.add(...branches);
}

/** ACNet: 3x3, 1x3 and 3x1, each with BN (Ding et al., ICCV 2019). */
export function acNet(net: Net, x: string, outputs: number, stride = 1): string {
  return net.add(
    net.norm(net.conv(x, outputs, { kernel: 3, pads: 1, stride })),
    net.norm(net.conv(x, outputs, { kernel: [1, 3], pads: [0, 1, 0, 1], stride })),
    net.norm(net.conv(x, outputs, { kernel: [3, 1], pads: [1, 0, 1, 0], stride })),
  );
}

/**
 * Diverse Branch Block (Ding et al., CVPR 2021, figure 2): kxk, 1x1, 1x1 -> kxk, 1x1 -> average pooling, with BN after
 * each. Between 1x1 and kxk (or pooling) the border holds what the first BN makes of zeros: the paper pads with that.
 * Padding the 1x1 convolution itself by p comes to the same ('first'). Padding the second with zeros ('second') does
 * not, unless the BN between adds nothing.
 */
export function diverseBranch(
  net: Net,
  x: string,
  outputs: number,
  options: { padding: 'first' | 'second'; kernel?: number },
): string {
  const { padding, kernel = 3 } = options;
  const c = net.channels(x);
  const p = (kernel - 1) / 2;
  const [before, behind] = padding === 'first' ? [p, 0] : [0, p];
  const squeeze = (width: number): string => net.norm(net.conv(x, width, { kernel: 1, pads: before }));
  return net.add(
    net.norm(net.conv(x, outputs, { kernel, pads: p })),
    net.norm(net.conv(x, outputs, { kernel: 1 })),
    net.norm(net.conv(squeeze(c), outputs, { kernel, pads: behind })),
    net.norm(net.averagePool(squeeze(outputs), kernel, { pads: behind })),
  );
}

/** ExpandNet CL: 1x1 -> kxk -> 1x1 around a wider middle (Guo, Alvarez & Salzmann, NeurIPS 2020, section 3.1). */
export function expandNetCl(net: Net, x: string, outputs: number, kernel: number, rate = 4): string {
  const inner = net.conv(x, net.channels(x) * rate, { kernel: 1 });
  const middle = net.conv(inner, outputs * rate, { kernel, pads: (kernel - 1) / 2 });
  return net.conv(middle, outputs, { kernel: 1, bias: true });
}

/** ExpandNet CK: a kxk as (k - 1) / 2 3x3s, all of the padding in the first (the same paper, section 3.2). */
export function expandNetCk(net: Net, x: string, outputs: number, kernel: number, rate = 2): string {
  const count = (kernel - 1) / 2;
  let value = x;
  for (let i = 0; i < count; i += 1) {
    const isLast = i === count - 1;
    const width = isLast ? outputs : net.channels(x) * rate;
    value = net.conv(value, width, { kernel: 3, pads: i === 0 ? count : 0, bias: true });
  }
  return value;
}

/** MobileOne: k convolutions with BN, a 1x1 (depthwise blocks only), and BN of the input (Vasu et al., CVPR 2023, figure 3). */
export function mobileOne(net: Net, x: string, kind: 'depthwise' | 'pointwise', branches: number): string {
  const c = net.channels(x);
  const groups = kind === 'depthwise' ? c : 1;
  const kernel = kind === 'depthwise' ? 3 : 1;
  const values = [net.norm(x)];
  if (kind === 'depthwise') values.push(net.norm(net.conv(x, c, { groups })));
  for (let i = 0; i < branches; i += 1) {
    values.push(net.norm(net.conv(x, c, { kernel, pads: (kernel - 1) / 2, groups })));
  }
  return net.add(...values);
}

/**
 * DO-Conv (Cao et al., 2022): the kernel is W (D + I) as a product of constants, W of [outputs, inputs, depth] and D of
 * [inputs, depth, kernel].
 */
export function doConv(net: Net, x: string, outputs: number): string {
  const c = net.channels(x);
  const depth = 9;
  const w = net.weight('W', [c, outputs, depth], depth * c);
  const d = net.weight('D', [c, depth, 9], depth);
  const product = net.node('MatMul', [w, d]);
  const turned = net.node('Transpose', [product], { perm: { ints: [1, 0, 2] } });
  const kernel = net.node('Reshape', [turned, net.integers('shape', [outputs, c, 3, 3])]);
  return net.node(
    'Conv',
    [x, kernel],
    { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } },
    outputs,
  );
}

/**
 * A chain as minyoungg/overparam makes it: a kxk first, then 1x1s, with what came `interval` layers before added, and
 * BN after each layer where wanted.
 */
export function overparamChain(
  net: Net,
  x: string,
  options: { outputs: number; depth: number; intervals: readonly number[]; norm?: boolean; kernel?: number },
): string {
  const { outputs, depth, intervals, norm = false, kernel = 3 } = options;
  const values = [x];
  for (let layer = 0; layer < depth; layer += 1) {
    const before = values.at(-1) ?? x;
    let value =
      layer === 0
        ? net.conv(before, outputs, { kernel, pads: (kernel - 1) / 2 })
        : net.conv(before, outputs, { kernel: 1 });
    if (norm) value = net.norm(value);
    for (const interval of intervals) {
      const earlier = values[layer + 1 - interval];
      if (earlier !== undefined && (layer + 1) % interval === 0 && net.channels(earlier) === outputs) {
        value = net.add(value, earlier);
      }
    }
    values.push(value);
  }
  return values.at(-1) ?? x;
}
