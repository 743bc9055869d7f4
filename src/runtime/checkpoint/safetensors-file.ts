import { ModelError } from '../../graph/index.js';
import { headerLength, safetensorsEntries } from '../io/safetensors.js';
import type { RangeReader, StoredTensor } from './types.js';

/**
 * The tensors of a safetensors file. Reads its header alone.
 *
 * @throws ModelError for what is no such file, is cut short or is damaged
 */
export async function safetensorsTensors(reader: RangeReader): Promise<Map<string, StoredTensor>> {
  const begin = await reader.read(0, Math.min(8, reader.length));
  const header = await reader.read(8, headerLength(begin, reader.length));
  const { entries } = safetensorsEntries(header, reader.length);
  return new Map(
    entries.map(({ name, type, shape, offset, length: size }) => [
      name,
      {
        name,
        dataType: type,
        shape,
        owner: reader,
        key: `${offset}`,
        bytes: async (start = 0, length = size) => {
          if (start + length > size) throw new ModelError(`it has only ${size} bytes`, { tensor: name });
          return reader.read(offset + start, length);
        },
        inFile: (start, length) => reader.inFile?.(offset + start, length),
      },
    ]),
  );
}
