import { VERIFY_OPTIONS } from '../analysis/verify/options.js';
import type { Feeds } from '../analysis/verify/verify.js';
import type { Model } from '../graph/index.js';
import { described } from '../graph/option-descriptors.js';
import { RANDOM_INPUT_OPTIONS } from '../runtime/session/options.js';
import { DATA_OPTIONS } from '../training/data/options.js';
import { IMAGE_ARGUMENTS, IMAGE_KEYS, INPUT_OPTION, imageOptionsOf, readInputs } from './run-inputs.js';
import { openSamples, SAMPLE_ARGUMENTS } from './sample-data.js';
import type { Command } from './shell/command.js';
import { type Given, refuse } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { loadModel, MODEL, nameOf, summarize } from './shell/files.js';
import { COMMON_OPTIONS } from './shell/options.js';
import {
  EP_CHOICES,
  onModel,
  PROVIDER_OPTIONS,
  preference,
  providersOf,
  STRICT_OPTION,
} from './shell/provider-options.js';

const OPTIONS = {
  ...VERIFY_OPTIONS,
  ...RANDOM_INPUT_OPTIONS,
  ...INPUT_OPTION,
  data: {
    kind: 'text',
    help: `compare on real samples: ${SAMPLE_ARGUMENTS.data.help}`,
  },
  split: { ...DATA_OPTIONS.split, default: undefined, defaultHelp: 'test, or all of data in one piece' },
  target: DATA_OPTIONS.target,
  unlabeled: DATA_OPTIONS.unlabeled,
  ...IMAGE_ARGUMENTS,
  ...PROVIDER_OPTIONS,
  referenceEp: {
    kind: 'choice',
    choices: EP_CHOICES,
    defaultHelp: 'as --ep',
    help: 'execution provider of the first model',
  },
  ...STRICT_OPTION,
  ...COMMON_OPTIONS,
} as const;

const SAMPLES = {
  data: OPTIONS.data,
  split: OPTIONS.split,
  target: OPTIONS.target,
  unlabeled: OPTIONS.unlabeled,
  normalize: OPTIONS.normalize,
} as const;

type Arguments = Given<typeof OPTIONS> & { readonly a: string; readonly b: string };

/** Samples of what `--data` names. */
async function feedsFrom(
  model: Model,
  args: Arguments,
): Promise<{ readonly feeds: readonly Feeds[]; readonly notes: readonly string[] }> {
  const { sampleFeeds } = await import('../training/sample-feeds.js');
  await using samples = await openSamples(model, described(SAMPLES, args), {
    preferred: ['test', 'validation', 'train'],
    onFiles: () => undefined,
  });
  const count = args.samples ?? VERIFY_OPTIONS.samples.default;
  const feeds = await sampleFeeds(model, samples.dataset, count);
  return { feeds, notes: [`samples of ${samples.name}`, ...samples.notes] };
}

export const verifyCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('a', MODEL)
      .positional('b', { type: 'string', demandOption: true, describe: 'model to compare with it' })
      .example('$0 verify model.onnx expanded.onnx', 'exit 0 if they agree, 1 if not')
      .example('$0 verify a.onnx b.onnx --dim batch=4 --samples 10', 'a batch of four, ten times')
      .example('$0 verify a.onnx b.onnx -i x.npz', 'on inputs of your own')
      .example('$0 verify a.onnx half.onnx --data mnist --samples 100', 'on samples of a data set')
      .example(
        '$0 verify m.onnx m.onnx --ep cuda --reference-ep cpu',
        'does the GPU compute what the CPU does',
      ),
  handler: async (args, io) => {
    const { list, device } = providersOf(args);
    const providers = list && preference(list);
    const { samples, tolerance, seed, dims, referenceEp: referenceProviders, strictEp: strict } = args;
    if (strict && (list === undefined || list.includes('cpu'))) {
      throw new UsageError('--strict-ep goes with a provider other than the CPU: --ep cuda, say');
    }
    const { input: texts = [] } = args;
    const images = imageOptionsOf(args);
    const hasData = args.data !== undefined;
    if (hasData && texts.length > 0) throw new UsageError('--data or --input, not both');
    if (texts.length > 0)
      refuse(OPTIONS, args, ['samples', 'seed', 'dims'], 'goes with random inputs, not --input');
    else {
      const images = IMAGE_KEYS.filter((key) => !hasData || key !== 'normalize');
      refuse(OPTIONS, args, images, 'goes with --input <image>');
    }
    if (hasData) refuse(OPTIONS, args, ['seed', 'dims'], 'goes with random inputs, not --data');
    else refuse(OPTIONS, args, ['split', 'target', 'unlabeled'], 'goes with --data');
    if (args.a === '-' && args.b === '-')
      throw new UsageError('only one of the models can come from standard input');
    const { verifyModels } = await import('../analysis/verify/verify.js');
    const { verifyDocument } = await import('../report/verify.js');
    const a = await loadModel(args.a, io, args);
    const b = await loadModel(args.b, io, args);
    const { fedInputs } = await import('../runtime/inputs/input-sizes.js');
    const { fitFeeds } = await import('../runtime/io/files.js');
    const taken = fedInputs(a.graph).map(({ name, dataType: type, shape = [] }) => ({ name, type, shape }));
    const { given, notes } = await readInputs(texts, taken, texts.length > 0 ? images : undefined);
    const fitted = hasData
      ? await feedsFrom(a, args)
      : texts.length === 0
        ? undefined
        : fitFeeds(given, taken);
    const verification = await onModel(`${nameOf(args.a)}, ${nameOf(args.b)}`, () =>
      verifyModels(a, b, {
        inputs: fitted?.feeds,
        ...(!hasData && { samples }),
        trace: true,
        tolerance,
        seed,
        dims,
        providers,
        referenceProviders,
        device,
        strict,
      }),
    );
    const names = {
      a: nameOf(args.a),
      b: nameOf(args.b),
      ...(fitted && { given: [...notes, ...fitted.notes] }),
    };
    await summarize(verifyDocument(verification, names), args, io);
    return verification.passed ? 0 : 1;
  },
};
