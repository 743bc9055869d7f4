/** Where in a model something is wrong. */
export interface Where {
  readonly file?: string | undefined;
  readonly graph?: string | undefined;
  readonly node?: string | undefined;
  readonly tensor?: string | undefined;
}

/**
 * What is wrong, where, and what to do about it, in one or two lines.
 *
 * @example
 * throw new ModelError('its weight has 12 bytes, but its shape [2, 3] needs 24', { tensor: 'fc.weight' });
 */
export class ModelError extends Error {
  override readonly name: string = 'ModelError';
  /** Which kind of error it is, for programs. */
  readonly code: string = 'ERR_MODEL';
  readonly where: Where;
  /** The message without the place. */
  readonly what: string;

  constructor(what: string, where: Where = {}, options?: ErrorOptions) {
    const place = [
      where.file,
      where.graph && `graph '${where.graph}'`,
      where.node && `node '${where.node}'`,
      where.tensor && `tensor '${where.tensor}'`,
    ].filter(Boolean);
    super(place.length > 0 ? `${place.join(', ')}: ${what}` : what, options);
    this.where = where;
    this.what = what;
  }
}

/** Does an error say that memory is short? The engine says so with a RangeError, as for what is out of range. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof RangeError && /allocat|out of memory/i.test(error.message);
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
