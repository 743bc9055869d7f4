import { ATTRIBUTE_FIELDS, type AttributeField } from '../attribute.js';
import type { AttributeProto } from '../proto/schema.js';
import { checkSparse, checkTensor } from './check-tensor.js';

interface Finding {
  readonly severity: 'error' | 'warning';
  readonly message: string;
  readonly hint: string;
  /** The tensor of the attribute that is meant. */
  readonly tensor?: string;
}

const FIELDS = Object.values(ATTRIBUTE_FIELDS);

/** Fields whose absence is not a zero: protobuf's third version omits a scalar that is 0 or ''. */
const NEEDED: ReadonlySet<AttributeField | undefined> = new Set(['t', 'g', 'sparse_tensor', 'tp'] as const);

/**
 * What is wrong with an attribute itself: its type, its one value, its reference, its tensors.
 *
 * @param declared the attributes of the function that it stands in; undefined outside of functions
 */
export function checkAttribute(
  attribute: AttributeProto,
  irVersion: bigint,
  declared: ReadonlySet<string> | undefined,
): Finding[] {
  const found: Finding[] = [];
  const error = (message: string, hint: string): unknown => found.push({ severity: 'error', message, hint });
  const warn = (message: string, hint: string): unknown => found.push({ severity: 'warning', message, hint });
  const name = attribute.name ?? '';
  if (name === '') error('an attribute has no name', 'give it the one that the operator expects');
  const set = FIELDS.filter((field) => {
    const value = attribute[field];
    return value !== undefined && !(Array.isArray(value) && value.length === 0);
  });
  const [field] = set;
  const reference = attribute.ref_attr_name;
  if (reference) {
    if (field !== undefined)
      error(`attribute '${name}' has a value and refers to '${reference}'`, 'keep one of both');
    if (declared === undefined) {
      error(
        `attribute '${name}' refers to an attribute of a function, but stands in none`,
        'give it a value of its own',
      );
    } else if (!declared.has(reference)) {
      error(
        `attribute '${name}' refers to '${reference}', which the function does not declare`,
        'give it a value of its own',
      );
    }
    return found;
  }
  const type = attribute.type ?? 0;
  const expected = (ATTRIBUTE_FIELDS as Readonly<Record<number, AttributeField>>)[type];
  if (set.length > 1) {
    error(`attribute '${name}' has several values: ${set.join(', ')}`, 'keep the one of its type');
  } else if (type !== 0 && expected === undefined) {
    warn(`attribute '${name}' has the type ${type}, which is not known`, 'it is kept as it is');
  } else if (expected !== undefined && field !== undefined && field !== expected) {
    error(
      `attribute '${name}' is of type ${expected}, but its value is in ${field}`,
      'set the type to match',
    );
  } else if (type === 0 && irVersion >= 2n) {
    if (field === undefined) error(`attribute '${name}' has no type and no value`, 'remove it, or set both');
    else warn(`attribute '${name}' has no type, only a value in ${field}`, 'set its type');
  } else if (field === undefined && NEEDED.has(expected)) {
    error(`attribute '${name}' is of type ${expected}, but has no value`, 'remove it, or give it a value');
  }
  for (const tensor of [...(attribute.t ? [attribute.t] : []), ...(attribute.tensors ?? [])]) {
    for (const [message, hint] of checkTensor(tensor)) {
      found.push({ severity: 'error', message, hint, tensor: tensor.name || name });
    }
  }
  const sparse = attribute.sparse_tensor ? [attribute.sparse_tensor] : [];
  for (const tensor of [...sparse, ...(attribute.sparse_tensors ?? [])]) {
    for (const [message, hint] of checkSparse(tensor)) {
      found.push({ severity: 'error', message, hint, tensor: tensor.values?.name || name });
    }
  }
  return found;
}
