import util from 'node:util';

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';

/** Colours text where asked to; plain on versions of Node that have no styleText. */
export function style(text: string, name: Style, colour: boolean): string {
  return colour ? (util.styleText?.(name, text) ?? text) : text;
}
