import { createReadStream, statSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import type { EvaluationInput, EvaluationPiece } from '../../evaluate/evaluation-part.js';
import { ModelError } from '../../graph/errors.js';
import type { Model } from '../../graph/index.js';
import { sha256 } from '../../graph/io/digest.js';
import type { Assembled } from '../../parts/assemble.js';
import { namedShard, piecesOf, shardOf } from '../../parts/shard.js';
import { openSamples } from '../sample-data.js';
import { UsageError } from '../shell/errors.js';
import { nameOf, type ReportTarget } from '../shell/files.js';
import { type Io, tell } from '../shell/io.js';
import { ProgressLine } from '../shell/progress.js';
import { onModel } from '../shell/provider-options.js';
import { version } from '../shell/version.js';
import type { EvaluateArguments } from './evaluate-options.js';
import {
  evaluatedModels,
  evaluateOptions,
  presentQuality,
  type QualityArguments,
  type SampleNotes,
} from './evaluate-output.js';

/** Options of the command line that say how it is written, or where it runs, not what. */
const NOT_SHOWN = ['shard', 'output', 'format', 'overwrite', 'quiet', 'verbose', 'config', 'memoryLimit'];

/** What a part says of the input. */
interface PartInput extends SampleNotes {
  readonly evaluation: EvaluationInput;
  /** SHA-256 of each model's files. */
  readonly models: readonly string[];
}

/**
 * Measures the batches of a shard and writes each as soon as it is done. What is there already is not run again.
 *
 * @returns the exit code
 * @throws UsageError for options that do not go with a shard; ModelError where the file of the part is of another result
 */
export async function writeEvaluationPart(args: EvaluateArguments, io: Io): Promise<number> {
  const { output: folder, model: path, others = [] } = args;
  const shard = namedShard(args.shard ?? '', io.env);
  if (folder === undefined || folder === '-')
    throw new UsageError('a shard writes a part, to be put together with the others: pass -o <folder>');
  if (args.format !== undefined)
    throw new UsageError('--format does not go with --shard: merge writes the report');
  if (statSync(folder, { throwIfNoEntry: false })?.isFile())
    throw new UsageError(`-o ${folder} is a file; a shard writes into a folder`);
  const files = [path, ...others];
  if (files.includes('-'))
    throw new UsageError('a shard cannot read standard input, which no other can read');
  const models = await evaluatedModels(files, args, [], io);
  const [first] = models;
  if (first === undefined) throw new UsageError('a model file is missing');
  await using samples = await openSamples(first.model, args, {
    preferred: ['test', 'validation', 'train'],
    onFiles: () => undefined,
  });
  const { dataset, name, notes } = samples;
  const [{ openEvaluation }, parts, { PartWriter, digestOf }, { onnxruntimeVersion }] = await Promise.all([
    import('../../evaluate/evaluate.js'),
    import('../../evaluate/evaluation-part.js'),
    import('../../parts/part-file.js'),
    import('../../runtime/session/onnxruntime.js'),
  ]);
  return await onModel(nameOf(path), async () => {
    await using run = await openEvaluation(models, dataset, evaluateOptions(args));
    const input: PartInput = {
      evaluation: await parts.evaluationInput(run, dataset),
      name,
      notes,
      models: await Promise.all(models.map(({ model }) => filesDigest(model))),
    };
    const { counts } = input.evaluation;
    const file = join(folder, `part-${shard.replace('/', '-of-')}.jsonl`);
    const shown = Object.entries(args).filter(([key]) => !NOT_SHOWN.includes(key));
    using writer = new PartWriter(
      file,
      {
        format: 'onnx-overparam part',
        schema: 1,
        tool: version(),
        command: 'evaluate',
        options: Object.fromEntries(shown),
        kernels: {
          onnxruntime: onnxruntimeVersion(),
          threads: String(args.threads ?? availableParallelism()),
          processor: cpus()[0]?.model.trim() ?? process.arch,
        },
        input,
        digest: digestOf(input),
        pieces: counts.map((count, batch) => {
          const { from } = run.rangeOf(batch);
          return `samples ${from} to ${from + count - 1}`;
        }),
        shard,
      },
      args,
    );
    const mine = piecesOf(counts, shardOf(shard));
    const progress = new ProgressLine(io, args);
    let known = 0;
    try {
      for (const [done, batch] of mine.entries()) {
        progress.update({ done, total: mine.length, what: 'batches' });
        const digest = writer.done.get(batch);
        if (digest === undefined) {
          const measured = await parts.evaluatePiece(run, models.length, batch);
          writer.add({ piece: batch, digest: measured.digest, result: measured.piece });
          continue;
        }
        known += 1;
        const { from, count } = run.rangeOf(batch);
        const again = await dataset.batch(Uint32Array.from({ length: count }, (_, index) => from + index));
        if (parts.samplesDigest(again) !== digest)
          throw new ModelError(
            `has other samples than when ${file} was begun; pass --overwrite to start over`,
            {
              file: dataset.path,
            },
          );
      }
    } finally {
      progress.clear();
    }
    if (!args.quiet) {
      const again = known > 0 ? `, ${known} of them there already` : '';
      await tell(
        io,
        `shard ${shard}: ${mine.length} of ${counts.length} batches${again}, written to ${file}`,
      );
    }
    return 0;
  });
}

/** SHA-256 of the files of a model. */
async function filesDigest(model: Model): Promise<string> {
  const { dataFilesOf } = await import('../../graph/index.js');
  const hash = sha256();
  for (const file of [...(model.path === undefined ? [] : [model.path]), ...dataFilesOf(model)])
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/**
 * Writes the report of parts: the same bytes as of the command without shards.
 *
 * @returns the exit code
 */
export async function mergeEvaluation(parts: Assembled, target: ReportTarget, io: Io): Promise<number> {
  const { reportOfBatches } = await import('../../evaluate/evaluation-part.js');
  const { evaluation, name, notes } = parts.header.input as PartInput;
  const report = reportOfBatches(
    evaluation,
    (batch) => parts.find(batch)?.result as EvaluationPiece | undefined,
  );
  const args = { ...(parts.header.options as unknown as QualityArguments), ...target };
  return await presentQuality(report, { name, notes }, args, io);
}
