/** Where a value does not fit a JSON Schema, of the subset that the published schema is written in. */
export function schemaErrors(schema: unknown, value: unknown): string[] {
  return [...errors(schema as Schema, value, '$', schema as Schema)];
}

interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly type?: string | readonly string[];
  readonly minimum?: number;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: false;
}

const KNOWN = new Set([
  ...['$ref', '$defs', 'anyOf', 'const', 'enum', 'type', 'minimum', 'items', 'properties', 'required'],
  ...['additionalProperties', 'description', 'title', '$schema', '$id', 'version'],
]);

function* errors(schema: Schema, value: unknown, path: string, root: Schema): Generator<string> {
  for (const key of Object.keys(schema)) {
    if (!KNOWN.has(key)) throw new Error(`this validator does not know '${key}'`);
  }
  if (schema.$ref !== undefined) {
    const target = root.$defs?.[schema.$ref.replace('#/$defs/', '')];
    if (target === undefined) throw new Error(`no ${schema.$ref}`);
    yield* errors(target, value, path, root);
  }
  if (schema.anyOf !== undefined) {
    const all = schema.anyOf.map((option) => [...errors(option, value, path, root)]);
    // The option that fits best says what is wrong.
    if (all.every((list) => list.length > 0)) yield* all.sort((a, b) => a.length - b.length)[0] ?? [];
  }
  if ('const' in schema && value !== schema.const) yield `${path}: not ${JSON.stringify(schema.const)}`;
  if (schema.enum !== undefined && !schema.enum.includes(value)) yield `${path}: none of ${schema.enum}`;
  if (schema.type !== undefined && ![schema.type].flat().some((type) => isOf(type, value))) {
    yield `${path}: ${JSON.stringify(value)?.slice(0, 40)} is not ${schema.type}`;
    return;
  }
  if (schema.minimum !== undefined && typeof value === 'number' && value < schema.minimum) {
    yield `${path}: ${value} < ${schema.minimum}`;
  }
  if (Array.isArray(value)) {
    if (schema.items === undefined) return;
    for (const [index, item] of value.entries()) yield* errors(schema.items, item, `${path}[${index}]`, root);
  } else if (typeof value === 'object' && value !== null) {
    for (const key of schema.required ?? []) if (!(key in value)) yield `${path}: no '${key}'`;
    for (const [key, item] of Object.entries(value)) {
      const property = schema.properties?.[key];
      if (property !== undefined) yield* errors(property, item, `${path}.${key}`, root);
      else if (schema.additionalProperties === false) yield `${path}: '${key}' is not described`;
    }
  }
}

function isOf(type: string, value: unknown): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}
