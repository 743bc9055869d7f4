import { stripVTControlCharacters } from 'node:util';
import { widthOf } from '../../report/text/text.js';

/**
 * What the bundle has in the place of the package string-width, which lays out yargs' help: that one makes a set of all
 * emoji as it is loaded, which takes longer than to parse a command line.
 */
export default function stringWidth(text: string): number {
  return widthOf(stripVTControlCharacters(text));
}
