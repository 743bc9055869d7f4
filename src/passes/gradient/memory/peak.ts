import { type Node, traitsOf, valuesRead } from '../../../graph/index.js';

/** Bytes of a value; undefined where its shape is not known. */
export type BytesOf = (value: string) => number | undefined;

/**
 * The most bytes that the values which nodes make take at one time, where the nodes run in the order given, each value is dropped
 * after its last reader, and a node that works element by element writes into an operand that nobody reads any more. So
 * onnxruntime plans its memory; what kernels need for themselves, and gaps between values, come on top.
 *
 * @param outputs values that stay to the end
 */
export function peakBytes(nodes: readonly Node[], bytesOf: BytesOf, outputs: Iterable<string>): number {
  const homes = new Map<string, string>();
  const homeOf = (value: string): string => homes.get(value) ?? value;
  const last = new Map<string, number>();
  for (const [index, node] of nodes.entries()) {
    const [output = ''] = node.outputs;
    if (isView(node)) homes.set(output, homeOf(node.inputs[0] ?? ''));
    for (const value of valuesRead(node.proto)) last.set(homeOf(value), index);
  }
  for (const value of outputs) last.set(homeOf(value), nodes.length);
  const alive = new Map<string, number>();
  let [now, most] = [0, 0];
  const drop = (value: string): void => {
    now -= alive.get(value) ?? 0;
    alive.delete(value);
  };
  for (const [index, node] of nodes.entries()) {
    const ending = [...new Set([...valuesRead(node.proto)].map(homeOf))].filter(
      (value) => last.get(value) === index,
    );
    const made = node.outputs.filter((value) => value !== '' && !homes.has(value));
    if (traitsOf(node).elementwise === true) {
      const bytes = bytesOf(made[0] ?? '');
      const reused = ending.find((value) => alive.get(value) === bytes);
      if (reused !== undefined) drop(reused);
    }
    for (const value of made) {
      const bytes = bytesOf(value) ?? 0;
      alive.set(value, bytes);
      now += bytes;
    }
    most = Math.max(most, now);
    for (const value of [...ending, ...made.filter((one) => !last.has(one))]) drop(value);
  }
  return most;
}

/** Whether a node's output has the memory of its first input. */
function isView(node: Node): boolean {
  return node.is('Identity') || node.is('Reshape', 'Squeeze', 'Unsqueeze', 'Flatten');
}
