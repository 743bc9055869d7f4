import type { Model } from '../../graph/index.js';
import { LAST_OPSET } from '../../graph/operators/versions.js';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import { CONVERT_OPTIONS, CONVERT_TYPES } from '../../passes/convert/options.js';
import type { ConvertAccount } from '../../passes/convert/to-half.js';
import type { Command } from '../shell/command.js';
import { type Given, refuse } from '../shell/described.js';
import { UsageError } from '../shell/errors.js';
import { checkOutput, loadModel, MODEL, nameOf, summarize, writeModel } from '../shell/files.js';
import type { Io } from '../shell/io.js';
import { COMMON_OPTIONS, OUTPUT_OPTIONS } from '../shell/options.js';
import { keepApart, outputsOf } from '../shell/outputs.js';
import { onModel } from '../shell/provider-options.js';

const OPTIONS = {
  type: {
    kind: 'choice',
    choices: CONVERT_TYPES,
    defaultHelp: 'as it is',
    help: 'floating-point type of weights and nodes',
  },
  ...CONVERT_OPTIONS,
  dims: { kind: 'dims', flag: 'dim', help: 'size to give an open dimension of an input: name=4 or x[1]=4' },
  opset: { kind: 'integer', min: 18, max: LAST_OPSET, defaultHelp: 'as it is', help: 'newer operator set' },
  ir: { kind: 'integer', min: 1, defaultHelp: 'as it is', help: 'newer IR version' },
  external: {
    kind: 'choice',
    choices: ['auto', 'always', 'never'],
    defaultHelp: 'auto, as it is, and where the file would pass 2 GiB',
    help: 'weights in a file beside the output',
  },
  ...OUTPUT_OPTIONS,
  output: {
    ...OUTPUT_OPTIONS.output,
    help: 'file to write: .onnx, or .safetensors for the weights alone; - for standard output',
  },
  ...COMMON_OPTIONS,
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const convertCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 convert model.onnx --type float16 --keep-io -o half.onnx', 'half the size')
      .example(
        "$0 convert model.onnx --type float16 --exclude Softmax --exclude 'head.*' -o half.onnx",
        'but some',
      )
      .example('$0 convert model.onnx --dim batch=1 -o fixed.onnx', 'one batch size')
      .example('$0 convert model.onnx --opset 21 -o newer.onnx', 'a newer operator set')
      .example('$0 convert model.onnx -o weights.safetensors', 'the weights alone'),
  handler: async (args, io) => {
    const { type, keepIo, exclude, dims, opset, ir, external } = args;
    const output = await checkOutput(args, io);
    const isWeights = output?.endsWith('.safetensors') === true;
    if (type === undefined) refuse(OPTIONS, args, ['keepIo', 'exclude'], 'goes with --type');
    if (type === 'float32') refuse(OPTIONS, args, ['exclude'], 'goes with --type float16 and bfloat16');
    if (isWeights)
      refuse(
        OPTIONS,
        args,
        ['dims', 'opset', 'ir', 'external', 'dataFile', 'keepIo'],
        'is of a model, not of a file of weights',
      );
    if (output === '-' && external === 'always')
      throw new UsageError('--external always goes with an output file');
    if (external === 'never') refuse(OPTIONS, args, ['dataFile'], 'and --external never exclude each other');
    if (!isWeights && [type, dims, opset, ir, external, args.dataFile].every((given) => given === undefined))
      throw new UsageError(
        'nothing to convert: pass --type, --dim, --opset, --ir or --external, or -o <file>.safetensors',
      );
    const outputs = outputsOf({ '--output': output });
    const { convertDocument } = await import('../../report/graph/documents.js');
    const given = await loadModel(args.model, io, {
      ...args,
      outputs,
      inPlace: isWeights ? undefined : output,
    });
    if (isWeights) keepApart(outputs, [args.model], io);
    let model: Model = given;
    let floats: ConvertAccount | undefined;
    await onModel(nameOf(args.model), async () => {
      if (opset !== undefined || ir !== undefined) {
        const { raiseIr, raiseOpset } = await import('../../passes/convert/raise-opset.js');
        if (opset !== undefined) model = await raiseOpset(model, opset);
        if (ir !== undefined) model = raiseIr(model, ir);
      }
      if (dims !== undefined) {
        const { fixDims } = await import('../../passes/convert/fix-dims.js');
        await model.apply(fixDims(dims));
      }
      if (type !== undefined) {
        const { convertFloats } = await import('../../passes/convert/convert.js');
        ({ model, account: floats } = await convertFloats(model, type, { keepIo, exclude }));
      }
    });
    if (external === 'never') {
      const { inlineWeights } = await import('../../passes/convert/inline-weights.js');
      await onModel(nameOf(args.model), () => model.apply(inlineWeights()));
    }
    let weights: number | undefined;
    if (output !== undefined && isWeights) weights = await writeWeights(model, output, args);
    else if (output !== undefined) await writeModel(model, output, args, io);
    await told(args, { floats, dims, model, output, weights }, convertDocument, io);
    return 0;
  },
};

async function told(
  args: Arguments,
  made: {
    readonly floats: ConvertAccount | undefined;
    readonly dims: Arguments['dims'];
    readonly model: Model;
    readonly output: string | undefined;
    readonly weights: number | undefined;
  },
  convertDocument: typeof import('../../report/graph/documents.js').convertDocument,
  io: Io,
): Promise<void> {
  const { floats, dims, model, output, weights } = made;
  const conversion = {
    model: nameOf(args.model),
    output,
    floats,
    dims,
    irVersion: model.irVersion,
    opset: model.opset(),
    weights,
  };
  await summarize(convertDocument(conversion, args.verbose), { ...args, output }, io);
}

/** Writes the initializers of the main graph. */
async function writeWeights(
  model: Model,
  path: string,
  { overwrite }: { readonly overwrite: boolean },
): Promise<number> {
  const { atomicWrite } = await import('../../graph/index.js');
  const { safetensors } = await import('../../runtime/index.js');
  const tensors = new Map(
    [...model.graph.initializers].map(
      ([name, tensor]) =>
        [name, { type: tensor.dataType, shape: tensor.shape, data: tensor.array() }] as const,
    ),
  );
  await atomicWrite(path, safetensors(tensors as Parameters<typeof safetensors>[0]), { overwrite });
  return tensors.size;
}
