/** A node that a pass left as it was, or a report did not look at, and why. */
export interface Skipped {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

/** Why something is not done, in words, in the place of what would be. */
export interface Reason {
  readonly reason: string;
}
