import { createInterface } from 'node:readline/promises';
import type { Command } from './shell/command.js';
import type { Given } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { summarize } from './shell/files.js';
import { type Io, tell } from './shell/io.js';
import { COMMON_OPTIONS } from './shell/options.js';
import { ProgressLine } from './shell/progress.js';
import { PROVIDER_OPTIONS, providersOf } from './shell/provider-options.js';

const OPTIONS = {
  ...PROVIDER_OPTIONS,
  ep: {
    ...PROVIDER_OPTIONS.ep,
    default: undefined,
    help: 'check only this provider, and exit with 1 if it does not work',
  },
  install: { kind: 'choice', choices: ['cuda'], help: 'download the CUDA provider (about 300 MB)' },
  yes: { kind: 'flag', default: false, alias: 'y', help: 'do not ask before the download' },
  ...COMMON_OPTIONS,
} as const;

type Arguments = Given<typeof OPTIONS>;

export const doctorCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .example('$0 doctor', 'all of them')
      .example('$0 doctor --ep cuda', 'for a script: does CUDA work?')
      .example('$0 doctor --install cuda', 'install the CUDA provider'),
  handler: async (args, io) => {
    const target = args.install;
    const { list, device } = providersOf(args);
    if (args.yes && target === undefined) throw new UsageError('--yes goes with --install');
    if (target !== undefined) return await install(args, io);
    const { diagnose } = await import('../runtime/providers/doctor.js');
    const { doctorDocument } = await import('../report/doctor.js');
    const named = (list ?? []).filter((name) => name !== 'auto');
    const progress = new ProgressLine(io, args);
    try {
      const diagnosis = await diagnose({
        providers: named.length > 0 ? [...new Set(named)] : undefined,
        device,
        onProgress: progress.update,
      });
      progress.clear();
      const isAsked = named.length > 0;
      await summarize(doctorDocument(diagnosis, { verbose: args.verbose, isAsked }), args, io);
      const asked = named.length > 0 ? diagnosis.providers : diagnosis.providers.slice(0, 1);
      return asked.every(({ loads }) => loads) ? 0 : 1;
    } finally {
      progress.clear();
    }
  },
};

/** Fetches CUDA's provider, once it was said how much that is. */
async function install(args: Arguments, io: Io): Promise<number> {
  const { CUDA_DOWNLOAD, CUDA_SOURCE, cudaInstallation, installCuda } = await import(
    '../runtime/providers/install.js'
  );
  const { directory, isInstalled } = cudaInstallation();
  const say = async (...lines: readonly string[]): Promise<void> => {
    if (!args.quiet) await tell(io, lines);
  };
  if (isInstalled && args.yes !== true) {
    await say(
      `CUDA's provider is installed already, in ${directory}`,
      'See onnx-overparam doctor --ep cuda; --yes fetches it again.',
    );
    return 0;
  }
  await say(
    `CUDA's and TensorRT's providers: some ${Math.round(CUDA_DOWNLOAD / 1e6)} MB from ${CUDA_SOURCE}`,
    `into ${directory}`,
  );
  if (args.yes !== true && !(await agrees(io))) {
    await say('Nothing was downloaded.');
    return 0;
  }
  const installed = await installCuda((line) => void say(line));
  await say(`Installed in ${installed}`, 'See whether it loads: onnx-overparam doctor --ep cuda');
  return 0;
}

async function agrees(io: Io): Promise<boolean> {
  if (!io.stdin.isTTY) throw new UsageError('to download without a terminal to ask on, pass --yes');
  const prompt = createInterface({ input: io.stdin, output: io.stderr });
  try {
    return /^y(es)?$/i.test((await prompt.question('Download? [y/N] ')).trim());
  } finally {
    prompt.close();
  }
}
