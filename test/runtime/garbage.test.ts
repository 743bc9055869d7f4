import { describe, expect, it } from 'vitest';
import { release } from '../../src/runtime/garbage.js';

describe('release', () => {
  it('takes the memory of whole buffers, and of nothing else', () => {
    const [given, kept] = [new Float64Array(1 << 20).fill(1), new Float32Array(4).fill(2)];
    const view = given.subarray(10, 20);
    release(given, undefined, new Uint8Array(0));
    expect([given.length, view.length, given.buffer.byteLength]).toEqual([0, 0, 0]);
    expect([...kept]).toEqual([2, 2, 2, 2]);
    // Again, and of memory that cannot be taken.
    release(given, new Uint8Array(new SharedArrayBuffer(8)));
  });
});
