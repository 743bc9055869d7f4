import { ModelError } from '../graph/errors.js';
import { PartFile, type PartHeader, type Piece, whyForeign } from './part-file.js';

/** Parts of one result, put together. */
export interface Assembled extends Disposable {
  readonly header: PartHeader;
  /** Names of the pieces that no part has. */
  readonly missing: readonly string[];
  /** By number; undefined where no part has it. */
  find(piece: number): Piece | undefined;
}

const MOST_NAMES = 5;

/**
 * Holds parts against one another. Any number of shards may have made them, each piece in one of them or the same in several.
 *
 * @param options with `allowMissing` pieces may be missing
 * @throws ModelError where a file is no part or of another result, where two differ about a piece, and where pieces are missing
 */
export function assemble(
  paths: readonly string[],
  { allowMissing }: { readonly allowMissing: boolean },
): Assembled {
  const parts: PartFile[] = [];
  const dispose = (): void => {
    for (const part of parts.splice(0)) part[Symbol.dispose]();
  };
  try {
    for (const path of paths) parts.push(new PartFile(path));
    const { header } = mostCommon(parts);
    const owners = new Map<number, PartFile>();
    for (const part of parts) {
      const why = whyForeign(part.header, header);
      if (why !== undefined)
        throw new ModelError(`does not belong to the others: ${why}`, { file: part.path });
      for (const piece of part.digests.keys()) addOwner(owners, piece, part);
    }
    const missing = header.pieces.filter((_, piece) => !owners.has(piece));
    if (missing.length > 0 && !allowMissing) throw missingError(missing, parts, header);
    return {
      header,
      missing,
      find: (piece) => owners.get(piece)?.find(piece),
      [Symbol.dispose]: dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** A part that belongs to as many as any: the one that differs is the foreign one. */
function mostCommon(parts: readonly PartFile[]): PartFile {
  const [first] = parts;
  if (first === undefined) throw new ModelError('there is no part to merge');
  const companions = (part: PartFile): number =>
    parts.filter((other) => whyForeign(other.header, part.header) === undefined).length;
  return parts.reduce((best, part) => (companions(part) > companions(best) ? part : best), first);
}

function addOwner(owners: Map<number, PartFile>, piece: number, part: PartFile): void {
  const other = owners.get(piece);
  if (other === undefined) {
    owners.set(piece, part);
    return;
  }
  const name = part.header.pieces[piece];
  if (other.digests.get(piece) !== part.digests.get(piece))
    throw new ModelError(`read other numbers for ${name} than ${other.path}: the input changed in between`, {
      file: part.path,
    });
  if (JSON.stringify(other.find(piece)) !== JSON.stringify(part.find(piece)))
    throw new ModelError(`computed ${name} otherwise than ${other.path}`, { file: part.path });
}

function missingError(
  missing: readonly string[],
  parts: readonly PartFile[],
  header: PartHeader,
): ModelError {
  const names = missing.slice(0, MOST_NAMES).join(', ');
  const more = missing.length > MOST_NAMES ? ` and ${missing.length - MOST_NAMES} more` : '';
  const shards = shardsWithout(parts);
  const where = shards.length === 0 ? '' : `; of shard ${shards.join(', ')} there is no part`;
  return new ModelError(
    `${missing.length} of ${header.pieces.length} pieces are missing: ${names}${more}${where}; run what is missing, or pass \`allowMissing: true\``,
  );
}

/** Shards that left no file, where all parts are of one number of them. */
function shardsWithout(parts: readonly PartFile[]): string[] {
  const counts = new Set(parts.map(({ header }) => header.shard.split('/')[1]));
  const [count] = counts;
  if (counts.size !== 1 || count === undefined) return [];
  const there = new Set(parts.map(({ header }) => header.shard));
  const absent = Array.from({ length: Number(count) }, (_, at) => `${at + 1}/${count}`).filter(
    (shard) => !there.has(shard),
  );
  return absent.length > MOST_NAMES
    ? [...absent.slice(0, MOST_NAMES), `and ${absent.length - MOST_NAMES} more`]
    : absent;
}
