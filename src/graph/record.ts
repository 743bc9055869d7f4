/** An empty record for names out of files: `__proto__` and `constructor` are names as others, which those of {} are not. */
export function emptyRecord<Value>(): Record<string, Value> {
  return Object.create(null) as Record<string, Value>;
}
