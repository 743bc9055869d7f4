import { expect, test } from 'vitest';
import { type NodeSpec, Tensor } from '../../../src/graph/index.js';
import { collapsed, expectSameFunction } from '../laws.js';
import { opsOf, stack } from '../models.js';

/** An orthogonal matrix of 4 x 4, another for each seed below 16; products of such are exact in any float type. */
function orthogonal(name: string, shape: readonly number[], seed: number): Tensor {
  const signOf = (bits: number): number => (bits.toString(2).replaceAll('0', '').length % 2 === 0 ? 1 : -1);
  const data = Float32Array.from({ length: 16 }, (_, i) => {
    const [row, column] = [i >> 2, i & 3];
    return (signOf(row & column) * signOf(seed & (1 << row))) / 2;
  });
  return Tensor.of(name, 'float32', shape, data);
}

test.each([
  ['MatMul', [2, 4], [4, 4]],
  ['Conv', [1, 4, 3, 3], [4, 4, 1, 1]],
])('a run of 100 %s becomes one node, in a dry run in words', async (opType, x, shape) => {
  const names = Array.from({ length: 101 }, (_, i) => (i === 0 ? 'x' : i === 100 ? 'y' : `h${i}`));
  const nodes = names.slice(1).map(
    (output, i): NodeSpec => ({
      opType,
      name: `n${i}`,
      inputs: [names[i]!, `w${i}`],
      outputs: [output],
    }),
  );
  const model = stack(
    x,
    nodes,
    nodes.map((_, i) => orthogonal(`w${i}`, shape, i)),
  );
  for (const options of [{ chainsOnly: true }, {}]) {
    const { model: folded, account } = await collapsed(model, options);
    expect(opsOf(folded)).toEqual([opType]);
    expect(account.rewritten.map(({ from }) => from.length)).toEqual([100]);
    await expectSameFunction(model, folded);
    const { account: dry } = await collapsed(model, { ...options, dryRun: true });
    expect(dry.rewritten.map(({ from }) => from.length)).toEqual([100]);
  }
});
