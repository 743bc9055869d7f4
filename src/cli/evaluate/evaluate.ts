import type { QualityReport } from '../../evaluate/types.js';
import { openSamples } from '../sample-data.js';
import type { Command } from '../shell/command.js';
import { UsageError } from '../shell/errors.js';
import { MODEL, nameOf } from '../shell/files.js';
import { keepApart, outputsOf } from '../shell/outputs.js';
import { ProgressLine } from '../shell/progress.js';
import { onModel } from '../shell/provider-options.js';
import { EVALUATE_ARGUMENTS, type EvaluateArguments } from './evaluate-options.js';
import {
  checkLimits,
  evaluatedModels,
  evaluateOptions,
  presentQuality,
  settleQuality,
} from './evaluate-output.js';

export const evaluateCommand: Command<EvaluateArguments> = {
  options: EVALUATE_ARGUMENTS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .positional('others', { type: 'string', array: true, describe: 'models to compare with the first' })
      .example('$0 evaluate model.onnx --data mnist', 'accuracy and loss on the test part')
      .example('$0 evaluate model.onnx --data mnist -o report.html', 'a page with the confusion matrix')
      .example(
        '$0 evaluate a.onnx b.onnx --data mnist --max-drop 0.5',
        'exit 1 if b is more than 0.5 points worse',
      )
      .example('$0 evaluate a.onnx b.onnx --data photos.npz --unlabeled', 'do they agree, without labels'),
  handler: async (args, io) => {
    const { model: path, others = [], output } = args;
    const files = [path, ...others];
    if (files.filter((file) => file === '-').length > 1)
      throw new UsageError('only one of the models can come from standard input');
    checkLimits(args);
    if (args.shard !== undefined) {
      const { writeEvaluationPart } = await import('./evaluate-part.js');
      return await writeEvaluationPart(args, io);
    }
    const { target } = settleQuality(args, io);
    const outputs = outputsOf({ '--output': output });
    keepApart(outputs, files, io);
    if (target !== undefined) {
      const { assertWritable } = await import('../../graph/index.js');
      await assertWritable(target, { overwrite: args.overwrite });
    }
    const models = await evaluatedModels(files, args, outputs, io);
    const [first] = models;
    if (first === undefined) throw new UsageError('a model file is missing');
    await using samples = await openSamples(first.model, args, {
      preferred: ['test', 'validation', 'train'],
      onFiles: (read) => keepApart(outputs, read, io),
    });
    const { evaluateModels } = await import('../../evaluate/evaluate.js');
    const progress = new ProgressLine(io, args);
    let report: QualityReport;
    try {
      report = await onModel(nameOf(path), () =>
        evaluateModels(models, samples.dataset, {
          ...evaluateOptions(args),
          onProgress: ({ done, total }) => progress.update({ done, total, what: 'samples' }),
        }),
      );
    } finally {
      progress.clear();
    }
    return await presentQuality(report, samples, args, io);
  },
};
