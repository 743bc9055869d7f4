import { ModelError, type Where } from '../errors.js';

const GIB = 2 ** 30;

/** Bytes that one thing may take in memory, unless setMemoryLimit says otherwise. */
export const DEFAULT_MEMORY_LIMIT = GIB;

let limit = DEFAULT_MEMORY_LIMIT;

/**
 * Sets how much memory one thing may take that a small file can make large: a tensor that nodes compute of constants, an
 * unpacked file, an image, the random input of a declared size, the nodes of functions. It holds for the process. What a file stores
 * as it is, weights say, is not held against it.
 *
 * @param bytes default 1 GiB
 * @throws RangeError unless it is a positive number
 * @example
 * setMemoryLimit(8 * 2 ** 30);
 */
export function setMemoryLimit(bytes: number): void {
  if (!(bytes > 0)) throw new RangeError(`a memory limit must be above 0, not ${bytes}`);
  limit = bytes;
}

/**
 * Throws, before anything is allocated, where that would take more than the limit.
 *
 * @param what a phrase that goes before "would take"
 * @throws ModelError naming the option that raises the limit
 */
export function assertFits(bytes: number, what: string, where: Where = {}): void {
  const problem = whyTooLarge(bytes, what);
  if (problem !== undefined) throw new ModelError(problem, where);
}

/** The same as a reason; undefined where it fits. */
export function whyTooLarge(bytes: number, what: string): string | undefined {
  if (fits(bytes)) return undefined;
  return `${what} would take ${sizeText(bytes)} of memory, more than the limit of ${sizeText(limit)}; \`setMemoryLimit\` raises it`;
}

export function fits(bytes: number): boolean {
  return bytes <= limit;
}

/** A number of bytes for people to read. */
export function sizeText(bytes: number): string {
  if (!(bytes < 2 ** 70)) return 'more than 2^40 GiB';
  const value = bytes / GIB;
  return value < 0.1 ? `${Math.ceil(bytes / 2 ** 20)} MiB` : `${Number(value.toPrecision(3))} GiB`;
}
