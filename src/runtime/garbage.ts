import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** A collection takes some 3 ms; allocating as much as this takes several times that. */
const INTERVAL = 48 << 20;

let collect: (() => void) | undefined;
let since = 0;

/**
 * Counts bytes of array buffers that were allocated and may be garbage soon, and collects when they add up.
 *
 * V8 hardly sees the memory behind array buffers and WebAssembly memories: without this, buffers that nobody holds any
 * more piled up to some 400 MB while one 4096 x 4096 matrix was decomposed.
 */
export function countGarbage(bytes: number): void {
  since += bytes;
  if (since < INTERVAL) return;
  since = 0;
  collect ??= exposedCollector();
  collect();
}

function exposedCollector(): () => void {
  if (typeof globalThis.gc === 'function') return globalThis.gc as () => void;
  // What --expose-gc does, for a context of its own: nothing becomes visible to the program.
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  return gc;
}
