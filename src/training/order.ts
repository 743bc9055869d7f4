import { Random } from '../runtime/index.js';

/** The numbers 0 to size - 1 in an order that seed and epoch decide (Durstenfeld's shuffle, CACM 1964, algorithm 235). */
export function shuffledOrder(size: number, seed: number, epoch: number): Uint32Array {
  const order = Uint32Array.from({ length: size }, (_, index) => index);
  const random = new Random(seed, `epoch ${epoch}`);
  for (let last = size - 1; last > 0; last -= 1) {
    const other = random.integer(last + 1);
    const moved = order[last] as number;
    order[last] = order[other] as number;
    order[other] = moved;
  }
  return order;
}
