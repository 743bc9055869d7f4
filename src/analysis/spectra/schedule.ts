/** Work on one weight. */
export interface Load {
  /** Relative to other work. */
  readonly cost: number;
  /** What it takes in memory. */
  readonly bytes: number;
}

/** Matrices that are in memory at one time have at most this many bytes together (or there is only one). */
const IN_FLIGHT_BYTES = 512 * 2 ** 20;

/** Work on a matrix of rows x columns of float32 and its Gram matrix. */
export function loadOf(rows: number, columns: number): Load {
  const order = Math.min(rows, columns);
  return { cost: rows * columns * order, bytes: 4 * rows * columns + 8 * order ** 2 };
}

/**
 * Runs a task for each item, the most expensive first, `size` at a time and within the memory of IN_FLIGHT_BYTES. A task is
 * also told the cost of all that are not begun yet.
 */
export async function largestFirst<T>(
  items: readonly T[],
  of: (item: T) => Load,
  size: number,
  task: (item: T, index: number, later: number) => Promise<void>,
): Promise<void> {
  const queue = items
    .map((item, index) => ({ item, index, load: of(item) }))
    .sort((a, b) => b.load.cost - a.load.cost);
  const running = new Set<Promise<void>>();
  let later = queue.reduce((sum, { load }) => sum + load.cost, 0);
  let inFlight = 0;
  try {
    for (const { item, index, load } of queue) {
      while (running.size > 0 && (running.size >= size || inFlight + load.bytes > IN_FLIGHT_BYTES)) {
        await Promise.race(running);
      }
      inFlight += load.bytes;
      later -= load.cost;
      const job: Promise<void> = task(item, index, later).finally(() => {
        running.delete(job);
        inFlight -= load.bytes;
      });
      running.add(job);
    }
    await Promise.all(running);
  } catch (error) {
    // The first failure is the report's; the rest end with the pool.
    for (const job of running) job.catch(() => undefined);
    throw error;
  }
}
