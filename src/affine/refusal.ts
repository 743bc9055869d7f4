/** Why something is not folded. */
const REFUSAL_KINDS = {
  inexact: 'one node would compute something else',
  cost: 'one node would take more parameters or multiply-adds',
  shared: 'a value within is used elsewhere',
  operand: 'an operand is no constant of a form that can be folded',
  unknown: 'the rank of a value is unknown',
  unsupported: 'an operator or attribute that is not known to be affine',
} as const;
export type RefusalKind = keyof typeof REFUSAL_KINDS;

export interface Refusal {
  readonly kind: RefusalKind;
  /** In words, naming nodes and values. */
  readonly reason: string;
}

export function refuse(kind: RefusalKind, reason: string): Refusal {
  return { kind, reason };
}

/** Expressions and geometries have no reason; refusals always have. */
export function isRefusal<T extends object>(result: T | Refusal): result is Refusal {
  return 'reason' in result && 'kind' in result;
}
