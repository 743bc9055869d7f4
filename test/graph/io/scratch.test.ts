import { describe, expect, it } from 'vitest';
import { Scratch } from '../../../src/graph/index.js';

describe('Scratch', () => {
  it('keeps bytes, few and many, with the zeros behind them', async () => {
    using scratch = new Scratch();
    const pieces = [10, 3 << 20, 0, (1 << 20) + 7].map((length, seed) =>
      Uint8Array.from({ length }, (_, i) => (i * 31 + seed) % 251),
    );
    const kept = pieces.map((bytes, i) => scratch.write(bytes, 100 * i));
    await Promise.all(kept.map(({ written }) => written));
    for (const [i, { source, written }] of kept.entries()) {
      const bytes = pieces[i] as Uint8Array;
      expect(written === undefined).toBe(bytes.length < 1 << 20);
      expect(source.length).toBe(bytes.length + 100 * i);
      const read = Buffer.from(source.read(0, source.length));
      expect(read.equals(Buffer.concat([bytes, new Uint8Array(100 * i)]))).toBe(true);
    }
  });

  it('may have the array back once it is written', async () => {
    using scratch = new Scratch();
    const bytes = new Uint8Array(2 << 20).fill(7);
    const { source, written } = scratch.write(bytes);
    await written;
    bytes.fill(9);
    expect(source.read(0, source.length).every((byte) => byte === 7)).toBe(true);
  });

  it('says where there is no room for it', async () => {
    using scratch = new Scratch('/nowhere/at/all');
    expect(() => scratch.write(new Uint8Array(2 << 20))).toThrow('set TMPDIR to a directory with room');
  });
});
