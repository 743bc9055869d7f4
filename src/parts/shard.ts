import { OptionError } from '../graph/option-descriptors.js';

/** Which part of some work is done here. */
export interface Shard {
  /** From 1 on. */
  readonly part: number;
  readonly of: number;
}

/** @throws OptionError unless it is 'i/n' with 1 <= i <= n */
export function shardOf(text: string): Shard {
  const [, part, of] = /^(\d{1,6})\/(\d{1,6})$/.exec(text) ?? [];
  const shard = { part: Number(part), of: Number(of) };
  if (!(shard.part >= 1 && shard.part <= shard.of))
    throw new OptionError('shard', `must be i/n with 1 ≤ i ≤ n, as 1/4, is '${text}'`);
  return shard;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * A shard as it is named: 'i/n' as it is; of 'auto' the task of a Slurm array (SLURM_ARRAY_TASK_ID, _MIN, _STEP, _COUNT); of 'auto/n' that
 * task where the array has n, or the pod of an Indexed Job (JOB_COMPLETION_INDEX, which comes without a count).
 *
 * @returns 'i/n'
 * @throws OptionError where the environment does not say which it is
 */
export function namedShard(text: string, env: Environment): string {
  const [, count] = /^auto(?:\/(\d{1,6}))?$/.exec(text) ?? [undefined, undefined];
  if (!text.startsWith('auto')) return textOf(shardOf(text));
  if (text !== 'auto' && count === undefined)
    throw new OptionError('shard', `must be i/n, auto or auto/n, is '${text}'`);
  const shard = env.SLURM_ARRAY_TASK_ID === undefined ? completionShard(env, count) : arrayShard(env, count);
  return textOf(shardOf(textOf(shard)));
}

function textOf({ part, of }: Shard): string {
  return `${part}/${of}`;
}

function arrayShard(env: Environment, count: string | undefined): Shard {
  const number = (name: string, usual?: string): number => {
    const text = env[`SLURM_ARRAY_TASK_${name}`] ?? usual;
    if (text === undefined || !/^\d+$/.test(text))
      throw new OptionError('shard', `auto: SLURM_ARRAY_TASK_${name} is ${text ?? 'not set'}`);
    return Number(text);
  };
  const [id, least, step, of] = [number('ID'), number('MIN'), number('STEP', '1'), number('COUNT')];
  const part = (id - least) / step + 1;
  if (!Number.isInteger(part) || part > of)
    throw new OptionError(
      'shard',
      `auto: the array has gaps (task ${id} of ${of} from ${least} on); name the shard: $SLURM_ARRAY_TASK_ID/n`,
    );
  if (count !== undefined && Number(count) !== of)
    throw new OptionError(
      'shard',
      `auto/${count}: the array has ${of} tasks; name the shard: $SLURM_ARRAY_TASK_ID/${count}`,
    );
  return { part, of };
}

function completionShard({ JOB_COMPLETION_INDEX: index }: Environment, count: string | undefined): Shard {
  if (index === undefined)
    throw new OptionError(
      'shard',
      'auto: this is no task of a Slurm array or pod of an Indexed Job (SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX); name the shard, as 1/4',
    );
  if (!/^\d+$/.test(index))
    throw new OptionError('shard', `auto: JOB_COMPLETION_INDEX is '${index}', not a number`);
  if (count === undefined)
    throw new OptionError(
      'shard',
      'auto: an Indexed Job does not say how many pods it has; name the number, as auto/64',
    );
  return { part: Number(index) + 1, of: Number(count) };
}

/**
 * The pieces of a shard, ascending: each piece, the most expensive first, goes to the shard that has least to do, so that whoever
 * computes the split computes the same.
 */
export function piecesOf(costs: readonly number[], { part, of }: Shard): number[] {
  const order = costs.map((cost, piece) => ({ cost, piece }));
  order.sort((a, b) => b.cost - a.cost || a.piece - b.piece);
  const loads = new Heap(of);
  return order
    .filter(({ cost }) => loads.give(cost) === part - 1)
    .map(({ piece }) => piece)
    .sort((a, b) => a - b);
}

/** Shards by what they have to do, the least first, of equal ones the first. */
class Heap {
  readonly #loads: Float64Array;
  readonly #order: number[];

  constructor(count: number) {
    this.#loads = new Float64Array(count);
    this.#order = Array.from({ length: count }, (_, index) => index);
  }

  /** Gives work to the shard that has least. */
  give(cost: number): number {
    const [shard = 0] = this.#order;
    this.#loads[shard] = (this.#loads[shard] as number) + cost;
    for (let at = 0; ; ) {
      const [left, right] = [2 * at + 1, 2 * at + 2];
      const least = [left, right].reduce((best, child) => (this.#isBefore(child, best) ? child : best), at);
      if (least === at) return shard;
      const moved = this.#order[at] as number;
      this.#order[at] = this.#order[least] as number;
      this.#order[least] = moved;
      at = least;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [first, second] = [this.#order[a], this.#order[b]];
    if (first === undefined || second === undefined) return false;
    const difference = (this.#loads[first] as number) - (this.#loads[second] as number);
    return difference < 0 || (difference === 0 && first < second);
  }
}
