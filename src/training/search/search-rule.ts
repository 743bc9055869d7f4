/** A loss and its gradient at a point. */
export interface Slope {
  readonly value: number;
  readonly gradient: Float64Array;
}

/** Elements `start` to `end` of a point: those of one weight. */
export interface Part {
  readonly start: number;
  readonly end: number;
}

/** What a search makes small: the loss of all samples, and the penalty of weight decay, as a function of all weights. */
export interface Objective {
  /** Elements of a point: all trained weights, one after the other. */
  readonly size: number;
  readonly parts: readonly Part[];
  /** The point as the weights hold it, rounded to their type. */
  rounded(x: Float64Array): Float64Array;
  /** The value there; Infinity where it is no number. */
  value(x: Float64Array): Promise<number>;
  slope(x: Float64Array): Promise<Slope>;
}

/** Where a search is, and what it knows. */
export interface Position {
  readonly x: Float64Array;
  /** By the names of `SearchRule.slots`. */
  readonly slots: Readonly<Record<string, Float64Array>>;
}

/** What a step of a search depends on besides the state. */
export interface SearchContext {
  /** The learning rate. */
  readonly rate: number;
  /** 1, 2, 3, … */
  readonly step: number;
  readonly seed: number;
}

/** An optimizer that looks at all weights at once, and at the loss of all samples, as often as it needs to in a step. */
export interface SearchRule {
  /** Whether it takes gradients, or the loss alone. */
  readonly takesGradients: boolean;
  /**
   * Shapes of what it keeps from step to step, by name.
   *
   * @throws OptionError where the state of so many weights is too large
   */
  slots(size: number): Readonly<Record<string, readonly number[]>>;
  /** What of it is not zero at first. */
  start?(x: Float64Array, parts: readonly Part[]): Readonly<Record<string, Float64Array>>;
  /**
   * One step. Neither the point nor the slots are written to.
   *
   * @returns where it is now, with the slope there where it is known
   */
  step(
    objective: Objective,
    at: Position,
    context: SearchContext,
  ): Promise<Position & { readonly slope?: Slope | undefined }>;
}
