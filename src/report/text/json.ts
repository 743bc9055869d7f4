import type { Document } from './document.js';

/** Counts up when a field of the JSON changes its meaning or goes away. */
export const SCHEMA_VERSION = 1;

/**
 * JSON with the kind and version of its schema. JSON has no infinity: a figure that is infinite (the condition
 * number of a singular matrix) is null.
 */
export function toJson(document: Document): string {
  const body = { kind: document.kind, schemaVersion: SCHEMA_VERSION, ...document.data };
  return `${JSON.stringify(body, undefined, 2).replace(NUMBER_LIST, (list) => list.replace(/\s+/g, ' '))}\n`;
}

/** Shapes and spectra, to go on one line. The line break keeps it from matching inside a string. */
const NUMBER_LIST = /\[\n\s*-?\d[\d.e+-]*(?:,\n\s*-?\d[\d.e+-]*)*\n\s*\]/g;
