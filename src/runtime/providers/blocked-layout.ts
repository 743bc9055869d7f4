import { ModelError, ValueInfo } from '../../graph/index.js';
import { evaluate } from '../session/run-graph.js';
import { buildModel } from '../session/small-model.js';
import type { RuntimeTensor } from '../types.js';

/** onnxruntime's operators on images whose channels stand in blocks, side by side: [N, C/B, H, W, B]. */
export const BLOCKED_DOMAIN = 'com.microsoft.nchwc';

let found: Promise<number | undefined> | undefined;

/**
 * How many channels the CPU provider keeps side by side here (16 with AVX-512, 8 with AVX2); undefined where it has no
 * such layout. onnxruntime brings convolutions into it by itself, but only those whose weight is a constant.
 */
export function blockSize(): Promise<number | undefined> {
  found ??= find();
  return found;
}

async function find(): Promise<number | undefined> {
  const model = buildModel({
    nodes: [{ domain: BLOCKED_DOMAIN, opType: 'ReorderInput', inputs: ['x'], outputs: ['y'] }],
    inputs: [ValueInfo.tensor('x', 'float32', [1, 64, 1, 2])],
    outputs: ['y'],
    opset: [
      { domain: '', version: 18 },
      { domain: BLOCKED_DOMAIN, version: 1 },
    ],
  });
  // Two positions, of which the second holds odd numbers: the first odd number ends the first block.
  const data = Float32Array.from({ length: 128 }, (_, i) => i);
  try {
    const { y } = await evaluate(model, { x: { type: 'float32', shape: [1, 64, 1, 2], data } });
    const size = (y as RuntimeTensor).data.findIndex((number) => Number(number) % 2 === 1);
    return size > 1 && 64 % size === 0 ? size : undefined;
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}
