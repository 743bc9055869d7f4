/**
 * docs/agreement.md: how far rank-report's figures are from NumPy's and from WeightWatcher's formulas, where Python with NumPy and
 * onnx is installed (Debian: python3-numpy, python3-onnx): `npm run build && npx tsx scripts/agreement.ts [model.onnx ...]`.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CLI, findPython, SCRIPTS } from '../bench/process.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

interface Deviation {
  readonly source: string;
  readonly quantity: string;
  readonly weights: number;
  readonly deviation: number;
}

function output(command: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 30 });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

function deviationsOf(python: string, model: string): Deviation[] {
  const directory = mkdtempSync(join(tmpdir(), 'agreement-'));
  try {
    const [whole, slices] = [join(directory, 'report.json'), join(directory, 'slices.json')];
    const args = [CLI, 'rank-report', model, '--spectra', '-o'];
    output(process.execPath, [...args, whole]);
    output(process.execPath, [...args, slices, '--conv-view', 'slices']);
    return JSON.parse(output(python, [join(SCRIPTS, 'agreement.py'), model, whole, slices])) as Deviation[];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const models = process.argv.slice(2);
if (models.length === 0) models.push(join(ROOT, 'fixtures/shapes.onnx'));
const python = findPython();
if (python === undefined) {
  console.error('no Python with NumPy and onnx here; on Debian: apt-get install python3-numpy python3-onnx');
  process.exit(1);
}
const found = models.map((model) => ({
  name: basename(model, '.onnx'),
  deviations: deviationsOf(python, model),
}));
const [first] = found;
const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const rows = (first?.deviations ?? []).map(({ source, quantity }) => {
  const cells = found.map(({ deviations }) => {
    const one = deviations.find((other) => other.source === source && other.quantity === quantity);
    return one === undefined ? '–' : `${one.deviation.toExponential(1)} (${one.weights})`;
  });
  return line([source, `\`${quantity}\``, ...cells]);
});
const versions = output(python, ['-c', 'import numpy; print(numpy.__version__)']).trim();
const text = `<!-- Made by: npx tsx scripts/agreement.ts ${models.map((model) => basename(model)).join(' ')} -->

# Agreement with NumPy and WeightWatcher

Each cell is the largest deviation over the weights of a model, with the number of weights in brackets. Deviations are relative; those
of logarithms are absolute.

- **Singular values**: max |s - s'| / s1, against numpy.linalg.svd in float64 (NumPy ${versions}).
- **Other figures of NumPy** are computed from these singular values by their definitions. Counts (\`numericalRank\`, \`rank90\` …) that
  are equal deviate by 0.
- **WeightWatcher's formulas** are transcribed in [bench/python/spectra.py](../bench/python/spectra.py) and applied to NumPy's singular
  values. They are compared with \`--conv-view slices\`. The factor by which WeightWatcher multiplies the slices, sqrt(kh * kw / 2), is taken out.

${line(['against', 'figure', ...found.map(({ name }) => name)])}
${line(['---', '---', ...found.map(() => '---')])}
${rows.join('\n')}
`;
const path = join(ROOT, 'docs/agreement.md');
writeFileSync(path, text);
console.log(text);
