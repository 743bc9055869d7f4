import { inGraph } from '../model.js';
import { decodeMessage, encodeMessage } from '../proto/codec.js';
import type { GraphProto } from '../proto/schema.js';
import { inflate } from './inflate.js';
import { bindPayloads, type Payload, payloadsOf } from './payload.js';
import { scanMessage } from './scan.js';
import { MemorySource } from './source.js';

/** A piece of a graph (nodes and small constants) as bytes, to be kept in metadata. */
export function encodeFragment(graph: GraphProto): Uint8Array {
  const payloads = new Map<number, Payload>();
  for (const tensor of inGraph(graph))
    for (const [id, payload] of payloadsOf(tensor)) payloads.set(id, payload);
  const content = inflate(encodeMessage('GraphProto', graph), payloads, 'GraphProto');
  return content.read(0, content.length);
}

/** The inverse of encodeFragment. Throws on malformed bytes. */
export function decodeFragment(bytes: Uint8Array): GraphProto {
  const { bytes: skeleton, payloads } = scanMessage(new MemorySource(bytes), 'GraphProto');
  const graph = decodeMessage('GraphProto', skeleton);
  for (const tensor of inGraph(graph)) bindPayloads(tensor, payloads);
  return graph;
}
