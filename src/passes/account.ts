/** How far a pass has come, for a progress display. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly what: string;
}

/** Called by a pass as its work proceeds. */
export type OnProgress = (progress: Progress) => void;
