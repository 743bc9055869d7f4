import {
  createModel,
  type GraphProto,
  type Model,
  ModelError,
  makeNode,
  ValueInfo,
} from '../../graph/index.js';
import { createMessage } from '../../graph/proto/codec.js';
import { Builder } from '../../passes/gradient/builder.js';
import { type LossModel, lossModel } from '../../passes/gradient/index.js';
import {
  convert,
  openSession,
  type RuntimeTensor,
  type Session,
  type SessionOptions,
} from '../../runtime/index.js';
import type { Batch, Evaluation } from '../types.js';
import { countsOf, type StepOptions } from './step.js';

interface Opened {
  readonly session: Session;
  readonly model: LossModel;
  readonly correct: string | undefined;
  readonly counted: string | undefined;
}

/** Sessions of different batch sizes that are kept: full batches, the last one of the training and of the validation set. */
const SIZES = 3;

/** Computes losses in inference form. Sizes are baked in, so each batch size has a session. */
export class Evaluator implements AsyncDisposable {
  readonly #model: Model;
  readonly #options: Pick<StepOptions, 'loss' | 'output' | 'dims'>;
  readonly #fed: readonly string[];
  readonly #session: SessionOptions;
  readonly #opened = new Map<number, Promise<Opened>>();

  /** @param fed names of the weights and statistics that `evaluate` is given */
  constructor(
    model: Model,
    options: Pick<StepOptions, 'loss' | 'output' | 'dims'>,
    fed: readonly string[],
    session: SessionOptions,
  ) {
    this.#model = model;
    this.#options = options;
    this.#fed = fed;
    this.#session = session;
  }

  async evaluate(
    batches: AsyncIterable<Batch>,
    weights: Readonly<Record<string, RuntimeTensor>>,
  ): Promise<Evaluation> {
    let samples = 0;
    let weight = 0;
    let loss = 0;
    let correct: number | undefined;
    for await (const batch of batches) {
      const size = sizeOf(batch);
      if (size === 0) continue;
      const { session, model, correct: hits, counted } = await this.#open(size);
      const known = new Map(session.inputs.map(({ name, type }) => [name, type]));
      const feeds = { ...weights, ...batch.inputs };
      if (model.target !== undefined && batch.target !== undefined) feeds[model.target] = batch.target;
      const read = Object.fromEntries(
        Object.entries(feeds).flatMap(([name, tensor]) => {
          const type = known.get(name);
          return known.has(name) ? [[name, type === undefined ? tensor : convert(tensor, type)]] : [];
        }),
      );
      const outputs = [model.loss, hits, counted].filter((name) => name !== undefined);
      const results = await session.run(read, { outputs });
      // The mean of a batch is of the labels that count.
      const share = counted === undefined ? size : scalar(results[counted]);
      samples += size;
      weight += share;
      loss += share * scalar(results[model.loss]);
      if (hits !== undefined) correct = (correct ?? 0) + (share * scalar(results[hits])) / size;
    }
    if (samples > 0 && weight === 0)
      throw new ModelError('no label of the data counts: all are the one that the loss leaves out');
    return {
      samples,
      loss: loss / weight,
      accuracy: correct === undefined ? undefined : correct / weight,
    };
  }

  async #open(size: number): Promise<Opened> {
    const known = this.#opened.get(size);
    this.#opened.delete(size);
    const opened = known ?? this.#make(size);
    this.#opened.set(size, opened);
    const [oldest] = this.#opened.keys();
    if (this.#opened.size > SIZES && oldest !== undefined) await this.#close(oldest);
    return opened;
  }

  async #make(size: number): Promise<Opened> {
    // Not the rest: an engine has options of the same names that mean something else.
    const { loss, output, dims } = this.#options;
    const made = await lossModel(this.#model, { loss, output, dims, batch: size, wrt: this.#fed });
    const base = made.model;
    const build = new Builder((name) => base.freshName(name));
    build.scope = 'evaluate';
    const counts = countsOf(build, made, this.#options.loss, size);
    const figures = [counts?.correct, counts?.counted].filter((value) => value !== undefined);
    const proto = base.graph.proto as GraphProto;
    const whole = createModel(
      createMessage('ModelProto', {
        ...base.proto,
        graph: createMessage('GraphProto', {
          ...proto,
          node: [...(proto.node ?? []), ...build.nodes.map(makeNode)],
          initializer: [...(proto.initializer ?? []), ...build.constants.map((tensor) => tensor.proto)],
          output: [
            ...(proto.output ?? []),
            ...figures.map(({ name }) => ValueInfo.tensor(name, 'float32', []).proto),
          ],
        }),
      }),
    );
    const session = await openSession(whole, this.#session);
    return { session, model: made, correct: counts?.correct.name, counted: counts?.counted?.name };
  }

  async #close(size: number): Promise<void> {
    const opened = await this.#opened.get(size)?.catch(() => undefined);
    this.#opened.delete(size);
    await opened?.session[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const size of [...this.#opened.keys()]) await this.#close(size);
  }
}

function sizeOf({ inputs, target }: Batch): number {
  const size = (Object.values(inputs)[0] ?? target)?.shape[0];
  if (size === undefined) throw new ModelError('a batch without tensors cannot be evaluated');
  return size;
}

function scalar(tensor: RuntimeTensor | undefined): number {
  return tensor === undefined ? Number.NaN : Number(convert(tensor, 'float64').data[0]);
}
