import type * as Ort from 'onnxruntime-node';
import { type DataType, modelToBytes, Tensor, ValueInfo } from '../../graph/index.js';
import { buildModel } from './small-model.js';

/** Creates a session of a model on the provider whose memory is bound. */
export type CreateSession = (
  model: Uint8Array,
  outputs: 'cpu' | 'gpu-buffer',
) => Promise<Ort.InferenceSession>;

/**
 * Small sessions that move tensors to the memory of a device, and wait for what it computes: onnxruntime-node has no function
 * for either (`Tensor.getData` of such a tensor ends the process), but the output of a session may stay on the device.
 */
export class DeviceMemory {
  readonly #create: CreateSession;
  readonly #sessions: Ort.InferenceSession[] = [];
  readonly #waiters = new Map<string, Promise<Ort.InferenceSession>>();

  constructor(create: CreateSession) {
    this.#create = create;
  }

  /** A copy of a tensor on the device. */
  async upload(tensor: Ort.Tensor): Promise<Ort.Tensor> {
    const type = tensor.type as DataType;
    const copy = buildModel({
      nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
      inputs: [ValueInfo.tensor('x', type, tensor.dims)],
      outputs: ['y'],
      opset: 17,
    });
    const session = await this.#open(modelToBytes(copy), 'gpu-buffer');
    const { y } = await session.run({ x: tensor });
    return y as Ort.Tensor;
  }

  /** Waits until a tensor on the device is computed, by fetching its first element. */
  async wait(tensor: Ort.Tensor): Promise<void> {
    const key = `${tensor.type} ${tensor.dims.length}`;
    let waiter = this.#waiters.get(key);
    if (waiter === undefined) {
      waiter = this.#open(modelToBytes(firstElement(tensor)), 'cpu');
      this.#waiters.set(key, waiter);
    }
    await (await waiter).run({ x: tensor });
  }

  async release(): Promise<void> {
    for (const session of this.#sessions) await session.release();
  }

  async #open(model: Uint8Array, outputs: 'cpu' | 'gpu-buffer'): Promise<Ort.InferenceSession> {
    const session = await this.#create(model, outputs);
    this.#sessions.push(session);
    return session;
  }
}

/** Takes x[0, 0, …] out of a tensor. */
function firstElement({ type, dims }: Ort.Tensor) {
  const rank = dims.length;
  const whole = (name: string, value: bigint): Tensor =>
    Tensor.of(name, 'int64', [rank], new BigInt64Array(rank).fill(value));
  return buildModel({
    nodes:
      rank === 0
        ? [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }]
        : [{ opType: 'Slice', inputs: ['x', 'from', 'to'], outputs: ['y'] }],
    inputs: [
      ValueInfo.tensor(
        'x',
        type as DataType,
        dims.map(() => undefined),
      ),
    ],
    outputs: ['y'],
    initializers: rank === 0 ? [] : [whole('from', 0n), whole('to', 1n)],
    opset: 17,
  });
}
