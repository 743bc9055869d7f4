/**
 * One model compressed to several budgets by several forms, and what that costs on the test part: no baselines, so any model and data.
 *
 *     npx tsx bench/compress/budgets.ts resnet.onnx <IDX folder> --budgets macs=0.5,macs=0.357 --forms channel,spatial --samples 1024
 *
 * `--part unseen --trained 20000` measures on samples of the training part behind the first 20,000 instead, for choices that are not
 * to be made on the test part.
 */
import { parseArgs } from 'node:util';
import type { Form } from '../../src/compress/compress.js';
import { compress } from '../../src/compress/compress.js';
import { evaluateModels } from '../../src/evaluate/evaluate.js';
import { readModel } from '../../src/graph/index.js';
import { inputSpecs, openDataset } from '../../src/training/data/index.js';
import type { Dataset } from '../../src/training/types.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    budgets: { type: 'string', default: 'params=0.5' },
    forms: { type: 'string', default: 'all' },
    samples: { type: 'string', default: '1024' },
    part: { type: 'string', default: 'test' },
    trained: { type: 'string', default: '0' },
    unseen: { type: 'string', default: '5000' },
    seed: { type: 'string', default: '0' },
    finetune: { type: 'string', default: '0' },
  },
});
const [file = '', folder = ''] = positionals;
const original = await readModel(file);
const inputs = inputSpecs(original);
await using all = await openDataset(folder, { inputs, split: 'train' });
await using test = await openDataset(folder, { inputs, split: 'test' });
const trained = Number(values.trained);

/** A part of the training samples. */
const part = (start: number, size: number): Dataset => ({
  ...all,
  size,
  numberOf: (i) => start + i,
  batch: (wanted, options) =>
    all.batch(
      Array.from(wanted, (i) => start + i),
      options,
    ),
  targets: undefined as never,
});
const calibration = trained > 0 ? part(0, trained) : all;
const measured = values.part === 'unseen' ? part(trained, Number(values.unseen)) : test;

for (const budget of values.budgets.split(',')) {
  const [key = 'params', share] = budget.split('=');
  for (const forms of values.forms.split(',')) {
    const model = original.clone();
    const [account] = await model.apply(
      compress({
        data: calibration,
        [key]: Number(share),
        samples: Number(values.samples),
        seed: Number(values.seed),
        finetune: Number(values.finetune),
        ...(forms !== 'all' && { forms: forms.split('+') as Form[] }),
      }),
    );
    const report = await evaluateModels(
      [
        { name: 'original', model: original },
        { name: 'compressed', model },
      ],
      measured,
    );
    const { total } = account;
    console.log(
      JSON.stringify({
        budget,
        forms,
        params: total.parametersAfter / total.parametersBefore,
        macs: total.multiplyAddsAfter / total.multiplyAddsBefore,
        accuracy: report.models.map(({ figures }) => figures.accuracy?.value),
        drop: report.comparisons[0]?.differences.accuracy,
        rise: report.comparisons[0]?.differences.loss,
        predicted: account.predicted,
        divergence: account.measured,
        notes: account.notes,
      }),
    );
  }
}
