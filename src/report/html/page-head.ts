import { html, Markup } from './markup.js';
import { hashOf } from './policy.js';

/** When and by what a page was made. */
export interface PageMade {
  /** Stands in the heading as it is. The library never asks for the time: the same data give the same bytes. */
  readonly date?: string | undefined;
  /** Version of the tool, for the heading. */
  readonly version?: string | undefined;
}

/** The line that says it. */
export function madeLine({ date, version }: PageMade): string {
  return [date, version === undefined ? 'onnx-overparam' : `onnx-overparam ${version}`]
    .filter(Boolean)
    .join(' · ');
}

/**
 * A page of one file up to its body: its own policy lets nothing load or run but these styles, this script and, where it makes
 * some, images.
 */
export function pageHead({
  title,
  styles,
  script,
  hasImages = false,
}: {
  readonly title: string;
  readonly styles: string;
  readonly script?: string;
  readonly hasImages?: boolean;
}): Markup {
  const policy = [
    "default-src 'none'",
    ...(hasImages ? ['img-src data: blob:'] : []),
    `style-src '${hashOf(styles)}'`,
    ...(script === undefined ? [] : [`script-src '${hashOf(script)}'`]),
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<style>${new Markup(styles)}</style>
</head>`;
}
