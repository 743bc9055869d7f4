import { described } from '../graph/option-descriptors.js';
import { NETWORK_KINDS, NETWORK_OPTIONS, type NetworkKind } from '../study/options.js';
import type { Command } from './shell/command.js';
import { type Given, refuse } from './shell/described.js';
import { checkOutput, summarize, writeModel } from './shell/files.js';
import { COMMON_OPTIONS, OUTPUT_OPTIONS } from './shell/options.js';

const OPTIONS = { ...NETWORK_OPTIONS, ...OUTPUT_OPTIONS, ...COMMON_OPTIONS };

type Arguments = Given<typeof OPTIONS> & { readonly kind: NetworkKind };

export const newCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('kind', { describe: 'kind of network', type: 'string', choices: NETWORK_KINDS })
      .example('$0 new mlp --inputs 784 --depth 4 --width 64 -o net.onnx', 'four layers for flat digits')
      .example('$0 new cnn --inputs 3,32,32 --activation gelu -o net.onnx', 'a small CNN for CIFAR'),
  handler: async (args, io) => {
    if (args.kind === 'mlp')
      refuse(OPTIONS, args, ['kernel'], 'goes with cnn and resnet: an mlp has no kernels');
    if (args.init !== 'low-rank') refuse(OPTIONS, args, ['rank'], 'goes with --init low-rank');
    const output = await checkOutput(args, io);
    const { newNetwork } = await import('../study/networks.js');
    const { networkDocument } = await import('../report/network.js');
    const model = await newNetwork(args.kind, described(NETWORK_OPTIONS, args));
    if (output !== undefined) await writeModel(model, output, args, io);
    await summarize(networkDocument(model, { output }), { ...args, output }, io);
    return 0;
  },
};
