import { copyFileForm } from './io/file-form.js';
import { copyUnknownFields, createMessage } from './proto/codec.js';
import { type Message, type MessageName, type ModelProto, SCHEMA } from './proto/schema.js';

/**
 * A copy of a model's messages that can be edited without a change of the original. Messages of tensors are shared, as edits
 * put others in their place.
 */
export function clonedProto(model: ModelProto): ModelProto {
  return cloned('ModelProto', model);
}

function cloned<M extends MessageName>(name: M, message: Message<M>): Message<M> {
  const fields: Record<string, readonly [number, string, string?]> = SCHEMA[name];
  const copy = Object.entries(message).map(([key, value]) => {
    const type = fields[key]?.[1] ?? '';
    const one = (item: unknown): unknown =>
      type in SCHEMA && type !== 'TensorProto' && typeof item === 'object' && item !== null
        ? cloned(type as MessageName, item)
        : item;
    return [key, Array.isArray(value) ? value.map(one) : one(value)] as const;
  });
  const made = createMessage(name, Object.fromEntries(copy) as Message<M>);
  copyUnknownFields(message, made);
  copyFileForm(message, made);
  return made;
}
