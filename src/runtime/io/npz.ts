import { ModelError } from '../../graph/index.js';
import type { RuntimeTensor } from '../types.js';
import { readNpy, writeNpy } from './npy.js';
import { readZip, writeZip } from './zip.js';

/**
 * The arrays of a NumPy archive (.npz), by name.
 *
 * @throws ModelError as readNpy does, naming the array
 * @example
 * const feeds = readNpz(await readFile('inputs.npz')); // numpy.savez('inputs.npz', x=x, mask=mask)
 */
export function readNpz(bytes: Uint8Array): Record<string, RuntimeTensor> {
  const tensors: [string, RuntimeTensor][] = [];
  for (const { name, data } of readZip(bytes)) {
    if (!name.endsWith('.npy')) continue;
    const key = name.slice(0, -'.npy'.length);
    try {
      tensors.push([key, readNpy(data)]);
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      throw new ModelError(`array '${key}': ${error.message}`, {}, { cause: error });
    }
  }
  if (tensors.length === 0) throw new ModelError('the archive holds no NumPy array');
  return Object.fromEntries(tensors);
}

/**
 * Tensors as a NumPy archive, which numpy.load reads. The same tensors give the same bytes.
 *
 * @param options.compress as numpy.savez_compressed; default false
 * @throws ModelError for a type that NumPy has no name for
 * @example
 * await writeFile('inputs.npz', writeNpz(randomInputs(model), { compress: true }));
 */
export function writeNpz(
  tensors: Readonly<Record<string, RuntimeTensor>>,
  options: { readonly compress?: boolean } = {},
): Uint8Array {
  const entries = Object.entries(tensors).map(([name, tensor]) => ({
    name: `${name}.npy`,
    data: writeNpy(tensor),
  }));
  return writeZip(entries, options);
}
