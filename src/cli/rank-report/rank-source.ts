import type { ChainView } from '../../analysis/report/options.js';
import { isCheckpoint, type WeightStore } from '../../analysis/weights/weight-store.js';
import { ModelError } from '../../graph/errors.js';
import type { Model } from '../../graph/index.js';
import { PatternError } from '../../graph/names/glob.js';
import type { Checkpoint } from '../../runtime/checkpoint/index.js';
import { UsageError } from '../shell/errors.js';
import type { ReportTarget } from '../shell/files.js';
import type { Io } from '../shell/io.js';
import type { Output } from '../shell/outputs.js';
import { loadSource } from '../shell/source.js';
import { nearest } from '../shell/suggest.js';
import type { RankArguments } from './rank-output.js';

/** A model or checkpoint of a rank report, and what of it is looked at. */
export interface RankSource {
  /** Undefined for a checkpoint, which has no graph. */
  readonly model: Model | undefined;
  readonly loaded: Model | Checkpoint;
  readonly store: WeightStore;
}

/** @throws UsageError where `--only` names nothing; ModelError as loadSource, and where there are no heads for `--heads` */
export async function openRankSource(
  file: string,
  args: RankArguments & ReportTarget,
  outputs: readonly Output[],
  io: Io,
): Promise<RankSource> {
  const loaded = await loadSource(file, io, { ...args, fixInputs: true, outputs });
  const store = args.heads ? await headsOf(loaded) : loaded;
  await checkNames(store, args.only, args.chains);
  return { model: isCheckpoint(loaded) ? undefined : loaded, loaded, store };
}

/** The products of the attention heads; ModelError where there are none. */
async function headsOf(source: Model | Checkpoint): Promise<WeightStore> {
  const { headProducts } = await import('../../analysis/weights/heads/head-products.js');
  const list = await headProducts(source);
  if (list.weights.length > 0) return list;
  const [first] = list.others;
  throw new ModelError(
    `no attention heads were found: ${first?.reason ?? 'it needs a config.json beside the checkpoint, or attention in a model'}`,
    { file: source.path, node: first?.node.label },
  );
}

/** UsageError where `--only` names nothing, with what was probably meant. */
async function checkNames(
  source: WeightStore,
  only: readonly string[] = [],
  chains: ChainView | undefined,
): Promise<void> {
  if (only.length === 0) return;
  const [{ weightsOfStore }, { chosenBy, nodesOf }] = await Promise.all([
    import('../../analysis/weights/weight-store.js'),
    import('../../analysis/weights/weights.js'),
  ]);
  const { weights } = await weightsOfStore(source, { chains });
  const pattern = only.find((one) => !weights.some(chosenBy([one])));
  if (pattern === undefined) return;
  const meant = nearest(
    pattern,
    weights.flatMap((weight) => [weight.name, ...nodesOf(weight)]),
  );
  if (meant !== undefined)
    throw new UsageError(`--only '${pattern}' matches no weight or node; did you mean '${meant}'?`);
  const names = weights.map(({ name }) => name);
  throw new PatternError('only', pattern, 'weight or node', names, source.path);
}
