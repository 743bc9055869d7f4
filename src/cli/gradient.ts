import type { Model } from '../graph/index.js';
import type { GradientOptions } from '../passes/gradient/index.js';
import type { Document } from '../report/text/document.js';
import {
  GRADIENT_ARGUMENTS,
  graphOptions,
  lossOption,
  type OptimizerChoice,
  optimizerOption,
} from './gradient-options.js';
import type { Command } from './shell/command.js';
import type { Given } from './shell/described.js';
import { onFile } from './shell/errors.js';
import { checkOutput, loadModel, MODEL, nameOf, summarize, writeModel } from './shell/files.js';
import { COMMON_OPTIONS, OUTPUT_OPTIONS } from './shell/options.js';
import { outputsOf } from './shell/outputs.js';

const OPTIONS = { ...GRADIENT_ARGUMENTS, ...OUTPUT_OPTIONS, ...COMMON_OPTIONS };

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const gradientCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 gradient model.onnx --loss cross-entropy --batch 64 -o step.onnx', 'loss and gradients')
      .example(
        '$0 gradient model.onnx --wrt image --loss sum -o saliency.onnx --weights constants',
        'by an input',
      )
      .example(
        '$0 gradient model.onnx --training-info --optimizer adam --batch 64 -o trainable.onnx',
        'a training step inside the model',
      ),
  handler: async (args, io) => {
    const loss = lossOption(args);
    const graph = graphOptions(args);
    const choice = optimizerOption(args);
    const { wrt: wanted, freeze, weights } = args;
    const output = await checkOutput(args, io);
    const outputs = outputsOf({ '--output': output });
    const { selectWrt } = await import('../passes/gradient/select.js');
    const model = await loadModel(args.model, io, { ...args, outputs, inPlace: output });
    const { made, document } = await onFile(nameOf(args.model), async () => {
      const wrt = selectWrt(model, { wrt: wanted, freeze, output: graph.output, loss: loss.kind });
      const options: GradientOptions = { loss, ...graph, wrt, weights };
      return choice === undefined ? plain(model, options, output) : withInfo(model, options, choice, output);
    });
    if (output !== undefined) await writeModel(made, output, args, io);
    await summarize(document, { ...args, output }, io);
    return 0;
  },
};

interface Made {
  readonly made: Model;
  readonly document: Document;
}

async function plain(model: Model, options: GradientOptions, output: string | undefined): Promise<Made> {
  const { gradient } = await import('../passes/gradient/index.js');
  const { gradientDocument } = await import('../report/gradient.js');
  const made = await gradient(model, options);
  return { made: made.model, document: gradientDocument(made, { output, loss: lossName(options) }) };
}

async function withInfo(
  model: Model,
  { weights: _, ...options }: GradientOptions,
  choice: OptimizerChoice,
  output: string | undefined,
): Promise<Made> {
  const { OPTIMIZERS, optimizer } = await import('../training/optimizers/index.js');
  const { withTrainingInfo } = await import('../training/training-info.js');
  const { trainingInfoDocument } = await import('../report/gradient.js');
  const { name, clipNorm } = choice;
  const info = await withTrainingInfo(model, {
    ...options,
    optimizer: optimizer(name, choice.options, choice.weightDecayKind),
    learningRate: choice.learningRate ?? OPTIMIZERS[name].learningRate,
    weightDecay: choice.weightDecay ?? OPTIMIZERS[name].weightDecay,
    clipNorm,
  });
  return {
    made: info.model,
    document: trainingInfoDocument(info, { output, loss: lossName(options), optimizer: name }),
  };
}

function lossName({ loss }: Pick<GradientOptions, 'loss'>): string {
  return typeof loss === 'string' ? loss : loss.kind;
}
