import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { SharedMemory } from '../../../src/linalg/kernels/exports.js';
import { instantiate, Workspace } from '../../../src/linalg/kernels/module.js';
import { randomMatrix } from './matrices.js';

const BUILDS = ['kernels.wasm', 'kernels-fused.wasm'] as const;

interface Engine {
  Module: new (bytes: Uint8Array) => object;
  Memory: new (sizes: { initial: number; maximum: number; shared: true }) => SharedMemory;
}
const { WebAssembly } = globalThis as unknown as { WebAssembly: Engine };

describe('the builds of the kernels', () => {
  it('give the same bits for a Gram matrix of float32, whose products are exact in float64', async () => {
    // The workspace lets the engine know what the fused build needs.
    await new Workspace(64).release();
    const [n, k] = [20, 300];
    const chunk = randomMatrix(k, n, 9);
    const [plain, fused] = BUILDS.map((name) => {
      const path = fileURLToPath(new URL(`../../../dist/linalg/kernels/${name}`, import.meta.url));
      const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: true });
      const kernels = instantiate(new WebAssembly.Module(readFileSync(path)), memory);
      const [sync, at, packed, g] = [0x10000, 0x10040, 0x40000, 0x60000].map((x) => x + kernels.heapBase());
      new Float32Array(memory.buffer, at, n * k).set(chunk);
      kernels.gramAdd(at!, n * 4, 4, 1, n, k, packed!, 1, g!, n * 8, sync!, 1, 0);
      return new Float64Array(memory.buffer, g!, n * n).slice();
    });
    expect(fused).toEqual(plain);
  });
});
