import { availableParallelism } from 'node:os';
import { KernelPool } from '../../linalg/kernels/threads/pool.js';

/**
 * Threads for rankReport, which start at once.
 *
 * @param size default the processors, at most 8: a machine of many cores gains nothing from many weights that wait for memory
 */
export function rankPool(size = Math.min(8, availableParallelism())): KernelPool {
  return new KernelPool({ size }).start();
}
