import { open } from 'node:fs/promises';

const DYNAMIC = 2;
const LOAD = 1;
const NEEDED = 1;
const STRING_TABLE = 5;

/**
 * The libraries that a 64-bit little-endian ELF file asks the loader for (DT_NEEDED), or undefined for a file that is
 * none: what `readelf -d` prints, which a user's machine may not have.
 *
 * @example
 * await neededLibraries('libonnxruntime_providers_cuda.so'); // ['libcublasLt.so.12', 'libcudnn.so.9', …]
 */
export async function neededLibraries(path: string): Promise<string[] | undefined> {
  const file = await open(path);
  try {
    const read = async (offset: number, length: number): Promise<DataView> => {
      const buffer = new Uint8Array(length);
      const { bytesRead } = await file.read(buffer, 0, length, offset);
      return new DataView(buffer.buffer, 0, bytesRead);
    };
    const number = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));
    const header = await read(0, 64);
    const isElf = header.byteLength === 64 && header.getUint32(0) === 0x7f454c46;
    if (!isElf || header.getUint8(4) !== 2 || header.getUint8(5) !== 1) return undefined;
    const entrySize = header.getUint16(54, true);
    const count = header.getUint16(56, true);
    const table = await read(number(header, 32), entrySize * count);
    const segments = Array.from({ length: count }, (_, index) => {
      const at = index * entrySize;
      return {
        type: table.getUint32(at, true),
        offset: number(table, at + 8),
        address: number(table, at + 16),
        size: number(table, at + 32),
      };
    });
    const dynamic = segments.find(({ type }) => type === DYNAMIC);
    if (dynamic === undefined) return [];
    const entries = await read(dynamic.offset, dynamic.size);
    const names: number[] = [];
    let strings: number | undefined;
    for (let at = 0; at + 16 <= entries.byteLength; at += 16) {
      const tag = number(entries, at);
      if (tag === NEEDED) names.push(number(entries, at + 8));
      if (tag === STRING_TABLE) strings = number(entries, at + 8);
    }
    if (strings === undefined) return [];
    // The table is given by its address in memory.
    const address = strings;
    const home = segments.find(
      ({ type, address: start, size }) => type === LOAD && address >= start && address < start + size,
    );
    if (home === undefined) return undefined;
    const base = address - home.address + home.offset;
    const texts: string[] = [];
    for (const name of names) {
      const { buffer, byteLength } = await read(base + name, 256);
      const bytes = new Uint8Array(buffer, 0, byteLength);
      const end = bytes.indexOf(0);
      texts.push(new TextDecoder().decode(bytes.subarray(0, end < 0 ? undefined : end)));
    }
    return texts;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  } finally {
    await file.close();
  }
}
