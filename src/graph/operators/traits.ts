/**
 * What is known of an operator of the standard, whatever its node. All are of its main use: float tensors, the first
 * output, Dropout and normalizations as in inference. Absent: not so, or not known.
 */
export interface OperatorTraits {
  /**
   * What the shape of the first output follows from: 'first', it is that of the first input; 'broadcast', that of all
   * inputs broadcast together (as NumPy does); 'channels', the rank and the first two sizes are those of the first input.
   */
  readonly shape?: 'first' | 'broadcast' | 'channels';
  /** Each element of the output follows from the elements of the inputs at its place alone, the same way at all places. */
  readonly elementwise?: true;
  /** The output has elements of the inputs at other places, or some number that fills; nothing is computed of them. */
  readonly moves?: true;
  /** The output has the elements of the first input under other axes, none lost and none added. */
  readonly relabels?: true;
  /** The output jumps where a float input moves a little. */
  readonly decides?: true;
  /** The output does not change where a float input moves a little, but for where it jumps: its derivative is zero. */
  readonly flat?: true;
  /** The first output is a sequence or an optional value, no tensor. */
  readonly makesNoTensor?: true;
  /** The output is another one each time. */
  readonly random?: true;
  /** Reads or makes a quantized tensor: integers with a scale. */
  readonly quantized?: true;
  /** Steps along a sequence: the gates of its weights in order. */
  readonly gates?: readonly string[];
  /** Inputs in which it takes what is trained. */
  readonly weights?: readonly number[];
  /** Of these, the ones that it multiplies by as a matrix, a kernel or a table: not one number a channel. */
  readonly matrices?: readonly number[];
  /** Inputs that are running statistics. */
  readonly statistics?: readonly number[];
  /** By how much it should widen what is fed into it, as PyTorch's `calculate_gain` has it; those like Relu have Relu's. */
  readonly gain?: number;
  /** What attribute `axis` is where it is absent: from which operator set on. */
  readonly axis?: readonly { readonly since: number; readonly value: number }[];
  /**
   * Operator sets from 7 on in which a node came to mean something else, or to be written otherwise, than the same node
   * before. Those that only allow more are not among them.
   */
  readonly rewritten?: readonly number[];
}

/** Traits by name, as each family of operators gives them. */
export type Family = Readonly<Record<string, OperatorTraits>>;

/** The same traits for several operators. */
export function each<const L extends readonly string[]>(
  names: L,
  traits: OperatorTraits,
): Readonly<Record<L[number], OperatorTraits>> {
  return Object.fromEntries(names.map((name) => [name, traits])) as Record<L[number], OperatorTraits>;
}

/** The default of an attribute `axis` that all operator sets share. */
export function axis(value: number): Pick<OperatorTraits, 'axis'> {
  return { axis: [{ since: 1, value }] };
}
