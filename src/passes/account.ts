/** A node that a pass left as it was, and why. */
export interface Skipped {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

/** How far a pass has come, for a progress display. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly what: string;
}

export type OnProgress = (progress: Progress) => void;
