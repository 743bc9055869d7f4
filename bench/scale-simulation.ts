/**
 * How the weights of a checkpoint of some 600 billion parameters are split over machines, by the cost that shards are divided by:
 * `npx tsx bench/scale-simulation.ts [machines]`. Nothing is read or computed: sizes are those of the published configuration of
 * DeepSeek-V3 (arXiv 2412.19437): 61 layers, the first 3 dense, 256 routed experts and a shared one in each of the others.
 */
import { pieceCost } from '../src/analysis/report/rank-part.js';
import { piecesOf } from '../src/parts/shard.js';

type Size = readonly [rows: number, columns: number];

const HIDDEN = 7168;
const VOCABULARY = 129_280;
const [DENSE, EXPERT, HEADS] = [18_432, 2048, 128];
const [QUERY_RANK, KEY_RANK, ROTARY, HEAD] = [1536, 512, 64, 128];

const attention: readonly Size[] = [
  [QUERY_RANK, HIDDEN],
  [HEADS * (HEAD + ROTARY), QUERY_RANK],
  [KEY_RANK + ROTARY, HIDDEN],
  [HEADS * 2 * HEAD, KEY_RANK],
  [HIDDEN, HEADS * HEAD],
];
const mlp = (width: number): readonly Size[] => [
  [width, HIDDEN],
  [width, HIDDEN],
  [HIDDEN, width],
];
const experts = Array.from({ length: 257 }, () => mlp(EXPERT)).flat();
const sizes: readonly Size[] = [
  [VOCABULARY, HIDDEN],
  [VOCABULARY, HIDDEN],
  ...Array.from({ length: 61 }, (_, layer): readonly Size[] => [
    ...attention,
    ...(layer < 3 ? mlp(DENSE) : [[256, HIDDEN] as const, ...experts]),
  ]).flat(),
];

const machines = Number(process.argv[2] ?? 64);
const costs = sizes.map(([rows, columns]) => pieceCost({ rows, columns }));
const elements = sizes.reduce((sum, [rows, columns]) => sum + rows * columns, 0);
const shards = Array.from({ length: machines }, (_, at) => piecesOf(costs, { part: at + 1, of: machines }));
const of = (pick: (piece: number) => number): { least: number; mean: number; most: number } => {
  const sums = shards.map((pieces) => pieces.reduce((sum, piece) => sum + pick(piece), 0));
  const mean = sums.reduce((sum, one) => sum + one, 0) / machines;
  return { least: Math.min(...sums), mean, most: Math.max(...sums) };
};
const row = (name: string, { least, mean, most }: ReturnType<typeof of>, digits: number): string =>
  `| ${[name, ...[least, mean, most].map((one) => one.toFixed(digits)), `${((100 * most) / mean - 100).toFixed(2)} %`].join(' | ')} |`;

console.log(`${sizes.length} matrices, ${(elements / 1e9).toFixed(1)}e9 parameters, ${machines} machines`);
console.log('| of a machine | least | mean | most | most above mean |\n| --- | --- | --- | --- | --- |');
console.log(
  row(
    'pieces',
    of(() => 1),
    0,
  ),
);
console.log(
  row(
    'predicted hours on two cores',
    of((piece) => (costs[piece] as number) / 3.6e15),
    2,
  ),
);
const bytes = (piece: number): number => {
  const [rows, columns] = sizes[piece] as Size;
  return (2 * rows * columns) / 1e9;
};
console.log(row('GB to read, 16 bits a number', of(bytes), 2));
const orders = sizes.map(([rows, columns]) => Math.min(rows, columns));
const values = (piece: number): number => (8 * (4 / 3) * (orders[piece] as number)) / 1e6;
console.log(row('MB of part file', of(values), 1));
