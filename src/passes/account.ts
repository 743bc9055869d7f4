/** How far a pass has come, for a progress display. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly what: string;
  /** Before the first: bytes of all weights that are going to be made, where a pass knows them. */
  readonly bytes?: number | undefined;
}

/** Called by a pass as its work proceeds. */
export type OnProgress = (progress: Progress) => void;
