import type { Axis } from '../axis.js';

/** What is drawn of one model. Of an area, xs are the edges of the bins: one more than ys. */
export interface Series {
  readonly kind: 'line' | 'area' | 'points';
  readonly xs: readonly number[];
  readonly ys: readonly number[];
  /** A band around a line. */
  readonly lows?: readonly number[];
  readonly highs?: readonly number[];
  readonly model: number;
  /** Further classes. */
  readonly mark?: string;
}

/** A line across the plot at a value, with its text. */
export interface Rule {
  readonly axis: 'x' | 'y';
  readonly at: number;
  readonly text: string;
  readonly model?: number;
}

/** What stands at a value of x. */
export interface Reading {
  readonly title: string;
  readonly lines: readonly { readonly text: string; readonly model?: number | undefined }[];
  readonly x: number;
  readonly dots: readonly { readonly y: number; readonly model: number }[];
}

/** A plot without pixels. */
export interface PlotSpec {
  /** Unique in the page; in the name of the file when it is saved. */
  readonly name: string;
  readonly title: string;
  readonly height: number;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  readonly rules?: readonly Rule[];
  /** Ticks of single values on the axis of x. */
  readonly rug?: readonly { readonly values: readonly number[]; readonly model: number }[];
  /** Values of x where the arrow keys stop. */
  readonly stops: readonly number[];
  readonly read: (x: number) => Reading | undefined;
}
