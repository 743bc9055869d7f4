/**
 * Several threads, each with an instance of this module over one shared memory, run the same function with the same
 * arguments; `thread` is 0 for the one that asked for it, which also does what is not divided. `sync` holds three i32:
 * how many threads have arrived, how often all of them met, and the next piece of work.
 */

/** Turns of waiting before a thread goes to sleep: some 20 µs, more than the pieces between two meetings differ by. */
const SPINS: i32 = 20000;

/** Returns when all threads have called it. */
export function meet(sync: usize, threads: usize): void {
  if (threads === 1) {
    store<i32>(sync, 0, 8);
    return;
  }
  const meeting = atomic.load<i32>(sync, 4);
  if (<usize>atomic.add<i32>(sync, 1) + 1 === threads) {
    atomic.store<i32>(sync, 0);
    atomic.store<i32>(sync, 0, 8);
    atomic.store<i32>(sync, meeting + 1, 4);
    atomic.notify(sync + 4, -1);
    return;
  }
  for (let i: i32 = 0; i < SPINS; i++) if (atomic.load<i32>(sync, 4) !== meeting) return;
  while (atomic.load<i32>(sync, 4) === meeting) atomic.wait<i32>(sync + 4, meeting, -1);
}

/** The next piece of work that no thread has taken since they met: 0, 1, 2, … */
export function claim(sync: usize): usize {
  return <usize>atomic.add<i32>(sync, 1, 8);
}

/** Where the share of a thread in [0, n) begins; a multiple of four, or n. */
export function shareOf(n: usize, thread: usize, threads: usize): usize {
  return min(n, ((((n + 3) >> 2) * thread) / threads) << 2);
}

/** The same for the rows of a lower triangle, in shares of about the same area. */
export function triangleShareOf(n: usize, thread: usize, threads: usize): usize {
  if (thread === threads) return n;
  return min(n, <usize>(<f64>n * sqrt(<f64>thread / <f64>threads)) & ~3);
}
