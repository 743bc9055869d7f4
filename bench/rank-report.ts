/**
 * Times rank-report as a whole process beside Python processes that load the same file and look at the same weights
 * (bench/python/spectra.py): `npm run bench:rank [-- --runs 3 --models <dir> --only alexnet,resnet50]`.
 *
 * All take turns, so that a drifting machine weighs on all; a ratio is the median of the ratios of the turns. Where
 * others use the machine too, CPU seconds (of all threads) tell more than seconds.
 *
 * The third peer is a transcription of what WeightWatcher computes, for WeightWatcher itself is not to be had from Debian.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readModel, Tensor, tensorProtos } from '../src/graph/index.js';
import { CLI, exportModels, findPython, median, type Run, run, SCRIPTS, WORK } from './process.js';

/** The peers, what is asked of each, and what it is asked on. */
const PEERS = [
  { way: 'svd', title: 'NumPy float32 SVD', goal: 0.5, args: [] },
  { way: 'gram', title: 'NumPy float64 Gram + eigvalsh', goal: 1, args: [] },
  // The same figures: the fits too, of the slices of convolutions.
  {
    way: 'weightwatcher',
    title: 'WeightWatcher, transcribed',
    goal: 0.4,
    args: ['--metrics', 'all', '--conv-view', 'slices'],
  },
] as const;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    models: { type: 'string', default: join(WORK, 'models') },
    only: { type: 'string', default: 'alexnet,resnet50,vit_b_16' },
    peers: { type: 'string', default: PEERS.map(({ way }) => way).join() },
  },
});
const python = findPython();
if (python === undefined) console.error('no Python with NumPy and onnx here: our figures alone');
const names = values.only.split(',');
const peers = PEERS.filter(({ way }) => values.peers.split(',').includes(way));
exportModels(python, values.models, names);
console.log(
  '| model | beside | ours s | theirs s | ratio | goal | ours CPU s | theirs CPU s | ours MB | theirs MB | largest weight MB |',
);
console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |');
for (const name of names) {
  const model = join(values.models, `${name}.onnx`);
  if (existsSync(model)) await benchModel(name, model);
  else console.error(`${model}: no such file`);
}

async function benchModel(name: string, model: string): Promise<void> {
  const ours = new Map<string, Run[]>(peers.map(({ way }) => [way, []]));
  const theirs = new Map<string, Run[]>(peers.map(({ way }) => [way, []]));
  for (let turn = 0; turn < Number(values.runs); turn += 1) {
    for (const { way, args } of peers) {
      ours.get(way)?.push(await run(process.execPath, [CLI, 'rank-report', model, ...args]));
      if (python === undefined) continue;
      theirs.get(way)?.push(await run(python, [join(SCRIPTS, 'spectra.py'), way, model]));
    }
  }
  const proto = (await readModel(model)).proto;
  const largest = Math.max(...[...tensorProtos(proto)].map((tensor) => new Tensor(tensor).byteLength));
  for (const { way, title, goal } of peers) {
    const [own = [], other = []] = [ours.get(way), theirs.get(way)];
    const ratios = other.map(({ seconds }, turn) => (own[turn]?.seconds ?? 0) / seconds);
    const middle = (list: readonly number[], digits: number): string =>
      list.length === 0 ? '–' : median(list).toFixed(digits);
    const cells = [
      name,
      title,
      middle(
        own.map(({ seconds }) => seconds),
        2,
      ),
      middle(
        other.map(({ seconds }) => seconds),
        2,
      ),
      middle(ratios, 2),
      `≤ ${goal}`,
      middle(
        own.map(({ cpuSeconds }) => cpuSeconds),
        1,
      ),
      middle(
        other.map(({ cpuSeconds }) => cpuSeconds),
        1,
      ),
      middle(
        own.map(({ megabytes }) => megabytes),
        0,
      ),
      middle(
        other.map(({ megabytes }) => megabytes),
        0,
      ),
      (largest / 1e6).toFixed(0),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}
