/** A node that a pass left as it was, and why. */
export interface Skipped {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}
