/** How a figure is written for people: digits after the point, significant digits, or a count. */
export type NumberFormat = 'count' | 'fixed1' | 'fixed2' | 'percent' | 'significant3';

/** A metric's descriptor without its key. */
export interface MetricText {
  /** Column header, short. */
  readonly header: string;
  readonly unit: string;
  readonly format: NumberFormat;
  /** One sentence, in terms of the singular values s1 >= s2 >= ... of an m x n matrix. */
  readonly definition: string;
  readonly source: string;
  /** Narrow tables keep the columns of low numbers. */
  readonly priority: number;
}
