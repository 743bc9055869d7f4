import type { Piece } from '../../parts/part-file.js';
import type { WeightSpectrum } from '../spectra/weight-spectrum.js';
import { type RankReport, reportOfRows } from './rank-report.js';
import { type RankRowBase, type RankRowOptions, type RankSpectra, rankRow } from './rank-row.js';
import { type RankInput, type RankReportOptions, rankLoad } from './rank-spectra.js';

/** A model of a report that is made in parts. */
export interface RankPartModel extends RankInput {
  /** As it was asked for. */
  readonly file: string;
  /** Nodes of its graph. */
  readonly nodes?: number | undefined;
}

/** Time in ps: of a multiply-add, where it counts that of a spectrum, and of a byte that is read, at 200 MB/s. */
const OPERATION = 60;
const BYTE = 5000;

/** What a piece costs, in ps: a measure to divide by, not to wait by. */
export function pieceCost({ rows, columns }: Pick<RankRowBase, 'rows' | 'columns'>): number {
  return OPERATION * rankLoad({ rows, columns }).cost + BYTE * 4 * rows * columns;
}

/** Spectra as a part file has them: singular values as bytes of float64, so that none is rounded. */
export function encodeSpectra(spectra: RankSpectra): Record<string, unknown> {
  if ('problem' in spectra) return { problem: spectra.problem };
  const { spectrum, random } = spectra;
  return { spectrum: encoded(spectrum), ...(random && { random: encoded(random) }) };
}

export function decodeSpectra(result: unknown): RankSpectra {
  const { problem, spectrum, random } = result as {
    readonly problem?: string;
    readonly spectrum: EncodedSpectrum;
    readonly random?: EncodedSpectrum;
  };
  if (problem !== undefined) return { problem };
  return { spectrum: decoded(spectrum), random: random && decoded(random) };
}

type EncodedSpectrum = Omit<WeightSpectrum, 'values'> & { readonly values: string };

function encoded({ values, ...rest }: WeightSpectrum): EncodedSpectrum {
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  return { ...rest, values: bytes.toString('base64') };
}

function decoded({ values, ...rest }: EncodedSpectrum): WeightSpectrum {
  // A copy, so that it begins where a float64 may.
  const { buffer } = new Uint8Array(Buffer.from(values, 'base64'));
  return { ...rest, values: new Float64Array(buffer) };
}

/**
 * The report of one model from pieces that were computed elsewhere: the same as rankReport's, to the bit.
 *
 * @param first number of its first piece
 * @param find undefined where no part has the piece
 */
export function reportOfPieces(
  model: RankPartModel,
  first: number,
  find: (piece: number) => Piece | undefined,
  options: RankRowOptions & RankReportOptions,
): RankReport {
  const rows = model.weights.map((base, index) => {
    const piece = find(first + index);
    const spectra: RankSpectra =
      piece === undefined ? { problem: 'no part has it' } : decodeSpectra(piece.result);
    return rankRow(base, spectra, options);
  });
  return reportOfRows(model, rows, options);
}
