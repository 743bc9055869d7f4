import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { assertFits, type ByteSource, MemorySource, ModelError, messageOf } from '../../graph/index.js';

/** A file in a ZIP archive. */
export interface ZipEntry {
  readonly name: string;
  readonly data: Uint8Array;
}

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const LARGE = 0xffffffff;
const STORED = 0;
const DEFLATED = 8;

/** A file in a ZIP archive that is not read yet. */
export interface ZipMember {
  readonly name: string;
  /** Bytes of it in the archive, from `start`. */
  readonly packed: number;
  readonly start: number;
  /** Bytes of it unpacked. */
  readonly size: number;
  /** 0 for one that lies in the archive as it is; another number for one that is packed. */
  readonly method: number;
  readonly checksum: number;
}

/**
 * The files of a ZIP archive (PKWARE's APPNOTE 6.3.10): stored or deflated, ZIP64 too. Only what NPZ files need: no
 * encryption, no archive in several parts.
 *
 * @throws ModelError for what is no archive, is damaged (every checksum is looked at) or of a kind that is not read
 */
export function readZip(bytes: Uint8Array): ZipEntry[] {
  const source = new MemorySource(plain(bytes));
  return listZip(source).map((member) => ({ name: member.name, data: readZipMember(source, member) }));
}

/**
 * What is in a ZIP archive. Reads its directory alone, so that the archive may be larger than the memory.
 *
 * @throws ModelError as readZip does
 */
export function listZip(source: ByteSource): ZipMember[] {
  try {
    return membersOf(source);
  } catch (error) {
    if (error instanceof ModelError) throw error;
    // A length that points outside of the file.
    throw new ModelError(`the ZIP archive is damaged: ${messageOf(error)}`, {}, { cause: error });
  }
}

/**
 * One file of an archive, unpacked.
 *
 * @throws ModelError for one that is damaged
 */
export function readZipMember(source: ByteSource, member: ZipMember): Uint8Array {
  const { name, packed, start, size, method, checksum } = member;
  if (method !== STORED) assertFits(size, `'${name}', unpacked from the ZIP archive,`);
  const data = unpack(source.read(start, packed), method, size, name);
  if (data.length !== size || crc32(data) !== checksum) {
    throw new ModelError(`'${name}' in the ZIP archive is damaged`);
  }
  return data;
}

function membersOf(source: ByteSource): ZipMember[] {
  const wide = (view: DataView, at: number): number => {
    const value = Number(view.getBigUint64(at, true));
    if (value > source.length) throw new ModelError('the ZIP archive is cut short');
    return value;
  };
  // Its comment may be up to 65,535 bytes; before it there may be what ZIP64 adds.
  const tailAt = Math.max(0, source.length - 22 - 0xffff - 20);
  const tail = viewOf(source.read(tailAt, source.length - tailAt));
  const end = findEnd(tail);
  let count = tail.getUint16(end + 10, true);
  let length = tail.getUint32(end + 12, true);
  let from = tail.getUint32(end + 16, true);
  if ((count === 0xffff || from === LARGE) && end >= 20 && tail.getUint32(end - 20, true) === LOCATOR64) {
    const end64 = viewOf(part(source, wide(tail, end - 12), 56));
    if (end64.getUint32(0, true) !== END64) throw new ModelError('the ZIP archive is damaged');
    count = wide(end64, 32);
    length = wide(end64, 40);
    from = wide(end64, 48);
  }
  const bytes = part(source, from, length);
  const view = viewOf(bytes);
  const members: ZipMember[] = [];
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    if (view.getUint32(at, true) !== CENTRAL) throw new ModelError('the ZIP archive is damaged');
    const flags = view.getUint16(at + 8, true);
    const method = view.getUint16(at + 10, true);
    const checksum = view.getUint32(at + 16, true);
    let packed = view.getUint32(at + 20, true);
    let size = view.getUint32(at + 24, true);
    const nameLength = view.getUint16(at + 28, true);
    const extraLength = view.getUint16(at + 30, true);
    const commentLength = view.getUint16(at + 32, true);
    let local = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    // The ZIP64 field holds, in this order, those of the three that did not fit.
    const extraEnd = at + 46 + nameLength + extraLength;
    for (let field = at + 46 + nameLength; field + 4 <= extraEnd; ) {
      const fieldLength = view.getUint16(field + 2, true);
      if (view.getUint16(field, true) === 1) {
        let place = field + 4;
        const next = (): number => {
          place += 8;
          // An unpacked size may pass that of the archive.
          return Number(view.getBigUint64(place - 8, true));
        };
        if (size === LARGE) size = next();
        if (packed === LARGE) packed = next();
        if (local === LARGE) local = next();
      }
      field += 4 + fieldLength;
    }
    if ((flags & 1) !== 0) throw new ModelError(`'${name}' in the ZIP archive is encrypted`);
    const header = viewOf(part(source, local, 30));
    if (header.getUint32(0, true) !== LOCAL) throw new ModelError('the ZIP archive is damaged');
    const start = local + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    if (start + packed > source.length) throw new ModelError('the ZIP archive is cut short');
    if (!name.endsWith('/')) members.push({ name, packed, start, size, method, checksum });
    at = extraEnd + commentLength;
  }
  return members;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The same bytes without Node's Buffer around them, whose slice does not copy. */
export function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function findEnd(view: DataView): number {
  for (let at = view.byteLength - 22; at >= 0; at -= 1) {
    if (view.getUint32(at, true) === END) return at;
  }
  throw new ModelError('this is not a ZIP archive, or one that is cut short');
}

function part(source: ByteSource, at: number, length: number): Uint8Array {
  if (at + length > source.length) throw new ModelError('the ZIP archive is cut short');
  return source.read(at, length);
}

function unpack(packed: Uint8Array, method: number, size: number, name: string): Uint8Array {
  if (method === STORED) return packed;
  if (method !== DEFLATED) {
    throw new ModelError(`'${name}' in the ZIP archive is packed by method ${method}, which is not read`);
  }
  try {
    // The limit keeps a small archive from unpacking to all of the memory.
    return plain(inflateRawSync(packed, { maxOutputLength: Math.max(1, size) }));
  } catch (error) {
    throw new ModelError(`'${name}' in the ZIP archive is damaged`, {}, { cause: error });
  }
}

/**
 * A ZIP archive. The same entries give the same bytes: there is no time in it.
 *
 * @param options.compress deflate the entries; default false: store them, as numpy.savez does
 * @throws ModelError for an archive of 4 GiB and more
 */
export function writeZip(
  entries: readonly ZipEntry[],
  options: { readonly compress?: boolean } = {},
): Uint8Array {
  const parts: Uint8Array[] = [];
  const central: Uint8Array[] = [];
  let offset = 0;
  for (const { name, data } of entries) {
    const packed = options.compress ? deflateRawSync(data) : data;
    const method = options.compress ? DEFLATED : STORED;
    const label = new TextEncoder().encode(name);
    const common = new DataView(new ArrayBuffer(26));
    common.setUint16(0, 20, true);
    // Names are UTF-8.
    common.setUint16(2, 0x800, true);
    common.setUint16(4, method, true);
    // 1 January 1980, the beginning of its calendar.
    common.setUint16(8, 0x21, true);
    common.setUint32(10, crc32(data), true);
    common.setUint32(14, packed.length, true);
    common.setUint32(18, data.length, true);
    common.setUint16(22, label.length, true);
    const fields = new Uint8Array(common.buffer);
    parts.push(words([LOCAL]), fields, label, packed);
    central.push(words([CENTRAL]), Uint8Array.of(20, 0), fields, new Uint8Array(10), words([offset]), label);
    offset += 30 + label.length + packed.length;
    if (offset >= LARGE || entries.length >= 0xffff) {
      throw new ModelError('an archive of 4 GiB and more cannot be written; name fewer outputs');
    }
  }
  const size = central.reduce((sum, { length }) => sum + length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, END, true);
  end.setUint16(8, entries.length, true);
  end.setUint16(10, entries.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return plain(Buffer.concat([...parts, ...central, new Uint8Array(end.buffer)]));
}

function words(values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  for (const [index, value] of values.entries()) view.setUint32(4 * index, value, true);
  return new Uint8Array(view.buffer);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** The CRC-32 of ZIP and PNG. node:zlib has one from Node 20.15 on only. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i += 1) {
    crc = (crc >>> 8) ^ (TABLE[(crc ^ (bytes[i] as number)) & 0xff] as number);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
