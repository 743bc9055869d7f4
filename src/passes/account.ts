/** How far a pass has come, for a progress display. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly what: string;
}

export type OnProgress = (progress: Progress) => void;
