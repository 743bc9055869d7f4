import { COLOURS } from './series.js';

/** Colours of the models, distinct from each other; on white paper too. */
export const LIGHT_COLOURS = [
  '#0b62b8',
  '#c2410c',
  '#00785a',
  '#9a3a86',
  '#6b5600',
  '#475569',
  '#008299',
  '#c01048',
  '#4f7300',
  '#5b3fc4',
  '#9b6a2f',
  '#c41fa3',
] as const;

/** The same on a dark ground. */
export const DARK_COLOURS = [
  '#5aa9f7',
  '#ff9256',
  '#3ecf9f',
  '#e58fd0',
  '#d9bd4a',
  '#a9b6c6',
  '#3fc6dc',
  '#ff6f8a',
  '#a9d65a',
  '#a08cff',
  '#c9a27c',
  '#ff6ee8',
] as const;

const variables = (colours: readonly string[]): string =>
  colours.map((colour, index) => `--s${index}: ${colour};`).join(' ');

const LIGHT = `color-scheme: light;
  --ground: #ffffff; --panel: #f6f7f9; --raised: #ffffff; --line: #d5dae1; --faint: #e9ecf0; --band: #f3f5f8;
  --text: #171c24; --muted: #55606f; --accent: #0b5cad; --accent-soft: #e3eefa; --warning: #8a4b00; --warning-soft: #fdf3e1;
  ${variables(LIGHT_COLOURS)} --mp: #c2410c; --pl: #00785a;`;

const DARK = `color-scheme: dark;
  --ground: #10141a; --panel: #171c24; --raised: #1d232d; --line: #343d4a; --faint: #262e39; --band: #161c24;
  --text: #e7ebf1; --muted: #a2adbb; --accent: #7cb8ff; --accent-soft: #1b2f47; --warning: #f2b866; --warning-soft: #2e2413;
  ${variables(DARK_COLOURS)} --mp: #ff9256; --pl: #3ecf9f;`;

/** Ink where a screen has shades. */
const PAPER = `${LIGHT}
  --line: #b8bfc8; --faint: #e3e6ea; --text: #000000; --muted: #3f4854; --accent-soft: #ffffff; --warning-soft: #ffffff;`;

const colourRules = Array.from({ length: COLOURS }, (_, k) => `.m${k} { --c: var(--s${k}); }`).join('\n');

/** The style sheet of the page. Text has a contrast of at least 4.5, marks of at least 3, on both grounds. */
export const STYLES = `
:root { ${LIGHT} --mono: ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace; }
:root[data-theme=dark] { ${DARK} }
@media (prefers-color-scheme: dark) { :root:not([data-theme]) { ${DARK} } }
* { box-sizing: border-box; }
html { scroll-padding-top: 12px; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif;
}
main, header, footer { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
.eyebrow { margin: 0; color: var(--muted); font-size: 13px; letter-spacing: 0.02em; }
h1 { margin: 2px 0 6px; font-size: 27px; line-height: 1.2; font-weight: 650; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { margin: 0; font-size: 19px; line-height: 1.3; font-weight: 650; letter-spacing: -0.005em; overflow-wrap: anywhere; }
h3 { margin: 0; font-size: 15px; font-weight: 600; }
h2:focus { outline: none; }
p { margin: 0 0 8px; }
.bar { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; justify-content: space-between; }
.top { align-items: flex-start; }
.top > div:first-child { flex: 1 1 320px; min-width: 0; }
.meta { color: var(--muted); font-size: 14px; }
section { margin: 30px 0 0; }
.lead { color: var(--muted); font-size: 14px; margin: 2px 0 10px; max-width: 120ch; }
.models { display: grid; gap: 10px; margin: 18px 0 0; padding: 0; list-style: none; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.models > li { background: var(--panel); border: 1px solid var(--faint); border-radius: 8px; padding: 12px 16px 14px; min-width: 0; }
.models label, .models .name { display: flex; gap: 8px; align-items: center; font-weight: 600; overflow-wrap: anywhere; }
dl.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(138px, 1fr)); gap: 8px 18px; margin: 8px 0 0; }
dl.figures dt { color: var(--muted); font-size: 12.5px; line-height: 1.35; }
dl.figures dd { margin: 0; font-size: 17px; font-variant-numeric: tabular-nums; display: flex; align-items: center; gap: 6px; }
.models dl.figures dd { font-size: 18px; }
#detail-figures { background: var(--panel); border: 1px solid var(--faint); border-radius: 8px; padding: 10px 16px 12px; margin: 12px 0 14px; grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); }
button, select, input[type=search] {
  font: inherit; font-size: 14px; color: var(--text); background: var(--raised); border: 1px solid var(--line); border-radius: 6px;
  padding: 5px 11px; min-height: 34px; max-width: 100%;
}
button { cursor: pointer; }
button:hover, select:hover { border-color: var(--muted); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.quiet { border-color: transparent; background: none; color: var(--accent); padding: 5px 8px; }
.switch { display: inline-flex; border: 1px solid var(--line); border-radius: 7px; padding: 2px; background: var(--panel); margin: 0; min-inline-size: 0; }
.switch legend, .hidden-text { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.switch label { position: relative; cursor: pointer; font-size: 13.5px; }
.switch input { position: absolute; opacity: 0; inset: 0; margin: 0; cursor: pointer; }
.switch span { display: block; padding: 3px 11px; border-radius: 5px; color: var(--muted); white-space: nowrap; }
.switch input:checked + span { background: var(--raised); color: var(--text); box-shadow: 0 0 0 1px var(--line); font-weight: 550; }
.switch input:focus-visible + span { outline: 2px solid var(--accent); outline-offset: 1px; }
.check { display: inline-flex; gap: 6px; align-items: center; font-size: 14px; cursor: pointer; }
input[type=checkbox] { accent-color: var(--accent); width: 16px; height: 16px; margin: 0; flex: none; }
.field { display: inline-flex; gap: 8px; align-items: center; font-size: 14px; color: var(--muted); min-width: 0; }
.controls { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; min-width: 0; }
.paper { display: none; }
.scroll { overflow-x: auto; overscroll-behavior-x: contain; }
figure { margin: 0; min-width: 0; }
figcaption { margin: 0 0 6px; }
.pair { display: grid; gap: 22px 28px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.plots { min-width: 0; }
.off { display: none; }
.none { color: var(--muted); padding: 40px 0; text-align: center; }
.fits { list-style: none; padding: 0; margin: 6px 0 0; font-size: 13.5px; color: var(--muted); }
.fits li { display: flex; gap: 8px; align-items: baseline; }
.fits .swatch { align-self: center; }
.warning { color: var(--warning); background: var(--warning-soft); border-radius: 6px; padding: 6px 12px; font-size: 14px; overflow-wrap: anywhere; }

svg.plot { display: block; max-width: none; overflow: visible; font-family: system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif; font-size: 11.5px; }
svg.plot:focus-visible { outline-offset: 4px; border-radius: 4px; }
.plot text { fill: var(--muted); }
.plot .label { fill: var(--text); font-size: 12.5px; }
.plot .grid { stroke: var(--faint); stroke-width: 1; fill: none; }
.plot .frame { stroke: var(--muted); stroke-width: 1; fill: none; }
.plot .band { fill: var(--band); }
${colourRules}
.d0 { --dash: none; }
.d1 { --dash: 7 3; }
.d2 { --dash: 2 2.5; }
.d3 { --dash: 9 3 2 3; }
.d4 { --dash: 12 4; }
.series .line { fill: none; stroke: var(--c); stroke-width: 1.9; stroke-dasharray: var(--dash); stroke-linejoin: round; }
.series .area { fill: var(--c); fill-opacity: 0.16; stroke: none; }
.series .dot { fill: var(--c); stroke: none; }
.series .stem { fill: none; stroke: var(--c); stroke-width: 1.5; stroke-opacity: 0.45; }
.series .bar { fill: var(--c); }
.series.d1 .bar { fill-opacity: 0.5; stroke: var(--c); }
.series.d2 .bar, .series.d4 .bar { fill-opacity: 0.15; stroke: var(--c); }
.series .rug { fill: none; stroke: var(--c); stroke-width: 1; stroke-opacity: 0.75; }
.series .area + .line { stroke-width: 1.2; }
.series.mp { --dash: none; }
.series.mp .line { stroke-width: 2.3; }
.series.pl { --dash: 1.5 2.5; }
.series.mp.alone { --c: var(--mp); --dash: none; }
.series.pl.alone { --c: var(--pl); --dash: 6 3; }
.rule path { fill: none; stroke: var(--c, var(--muted)); stroke-width: 1; stroke-dasharray: 3 3; }
.rule text { fill: var(--c, var(--muted)); paint-order: stroke; stroke: var(--ground); stroke-width: 3px; stroke-linejoin: round; }
.plot .rule.mean text { fill: var(--text); }
.plot .rule.mean path { stroke: var(--text); stroke-opacity: 0.8; stroke-dasharray: var(--dash, 3 3); }
.plot .rule.mean.m0 path { stroke-dasharray: 3 3; }
.crosshair { fill: none; stroke: var(--text); stroke-width: 1; stroke-opacity: 0.45; }
.cursor .dot { stroke: var(--ground); stroke-width: 1.5; }
.overview .target { fill: transparent; }
.overview .size { fill: var(--muted); fill-opacity: 0.55; }
.overview .missing { fill: var(--warning); font-weight: 700; }
.overview .hit { cursor: pointer; outline: none; }
.overview .hit:hover .target, .overview .hit:focus-visible .target { fill: var(--text); fill-opacity: 0.07; }
.overview .chosen { fill: none; stroke: var(--text); stroke-width: 1.6; pointer-events: none; }
.overview .hit:focus-visible .target { stroke: var(--accent); stroke-width: 3; }
.swatch { width: 22px; height: 10px; flex: none; }
.swatch .line { stroke-width: 2.6; }

#tip {
  position: fixed; z-index: 10; pointer-events: none; max-width: min(340px, 92vw); background: var(--raised); color: var(--text);
  border: 1px solid var(--line); border-radius: 6px; padding: 6px 10px; font-size: 13px; line-height: 1.4;
  box-shadow: 0 4px 18px rgb(0 0 0 / 16%); font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
#tip div { display: flex; gap: 7px; align-items: baseline; color: var(--muted); }
#tip .swatch { align-self: center; }

.frame-table { max-height: min(78vh, 860px); overflow: auto; border: 1px solid var(--line); border-radius: 8px; margin-top: 10px; position: relative; }
table { border-collapse: separate; border-spacing: 0; font-size: 13px; font-variant-numeric: tabular-nums; }
#weights { width: 100%; }
#weights.brief .more { display: none; }
th, td { padding: 5px 8px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--faint); }
thead th { position: sticky; top: 0; z-index: 2; background: var(--panel); border-bottom: 1px solid var(--line); padding: 0; font-weight: 600; vertical-align: bottom; }
thead th button { all: unset; box-sizing: border-box; display: block; width: 100%; padding: 7px 8px; cursor: pointer; text-align: right; white-space: nowrap; }
thead th.left button { text-align: left; }
thead th button:hover { color: var(--accent); }
thead th button:focus-visible { outline: 2px solid var(--accent); outline-offset: -3px; }
thead th[aria-sort] button { color: var(--accent); }
thead th[aria-sort=ascending] button::after { content: ' ↑'; }
thead th[aria-sort=descending] button::after { content: ' ↓'; }
thead th.plain { padding: 7px 8px; }
.left { text-align: left; }
tbody th { position: sticky; left: 0; z-index: 1; background: var(--ground); font-weight: 400; text-align: left; max-width: 290px; overflow: hidden; text-overflow: ellipsis; }
thead th:first-child { left: 0; z-index: 3; }
tbody tr { cursor: pointer; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; }
.legend span { display: inline-flex; gap: 7px; align-items: center; }
#embeddings tbody tr { cursor: default; }
tbody tr:hover th, tbody tr:hover td { background: var(--panel); }
tbody tr.current th, tbody tr.current td { background: var(--accent-soft); }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0; }
tbody a { color: inherit; text-decoration: none; }
tbody a:hover, tbody a:focus-visible { text-decoration: underline; }
tbody td.quiet-text { color: var(--muted); }
tbody .note { color: var(--warning); }
td .each { display: flex; gap: 6px; align-items: center; justify-content: flex-end; min-height: 20px; }
td.left .each { justify-content: flex-start; }
svg.spark { width: 68px; height: 20px; display: block; }
.spark path { stroke: none; fill: var(--c); }
details { margin: 12px 0 0; }
summary { cursor: pointer; font-weight: 600; padding: 3px 0; }
summary:hover { color: var(--accent); }
.definitions { margin: 8px 0 0; display: grid; grid-template-columns: minmax(92px, max-content) 1fr; gap: 6px 18px; font-size: 14px; }
.definitions dt { font-weight: 600; }
.definitions dd { margin: 0; max-width: 84ch; }
.definitions .source, .small { color: var(--muted); font-size: 13px; }
ul.plain { padding: 0 0 0 18px; margin: 6px 0; font-size: 14px; overflow-wrap: anywhere; }
footer { margin-top: 36px; padding-top: 14px; padding-bottom: 36px; color: var(--muted); font-size: 13px; }
footer p { border-top: 1px solid var(--faint); padding-top: 12px; }
@media (max-width: 640px) {
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  header { padding-top: 16px; }
  h1 { font-size: 22px; }
  section { margin-top: 24px; }
  tbody th { min-width: 132px; max-width: 150px; white-space: normal; overflow-wrap: anywhere; line-height: 1.3; }
  .nav { flex-wrap: nowrap; width: 100%; }
  .nav .field { flex: 1 1 auto; flex-wrap: nowrap; }
  .nav select { width: 100%; }
  .definitions { grid-template-columns: 1fr; gap: 0; }
  .definitions dd { margin-bottom: 8px; }
  #filter { width: 100%; }
  .field { flex-wrap: wrap; }
  dl.figures, #detail-figures { grid-template-columns: repeat(auto-fill, minmax(100px, 1fr)); }
}
@media (prefers-reduced-motion: no-preference) {
  .overview .chosen { transition: x 120ms ease-out; }
}
@media print {
  @page { margin: 14mm 12mm; }
  :root, :root[data-theme=dark], :root:not([data-theme]) { ${PAPER} }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { font-size: 10pt; }
  main, header, footer { max-width: none; padding: 0; }
  .screen, #tip, .chosen { display: none !important; }
  .off { display: block; }
  .plots > div { break-inside: avoid; margin-bottom: 8px; }
  svg.plot { max-width: 100%; height: auto; }
  .scroll, .frame-table { overflow: visible; max-height: none; border: 0; }
  .pair { display: block; }
  table { font-size: 7pt; }
  #weights { width: auto; max-width: 100%; }
  #weights .more { display: none; }
  th, td { padding: 2px 4px; }
  thead th, tbody th { position: static; }
  thead th, thead th.plain { padding: 3px 4px; white-space: normal; overflow-wrap: normal; }
  tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 140px; max-width: 190px; }
  svg.spark { width: 40px; height: 12px; }
  td .each { min-height: 0; }
  section { margin-top: 18px; }
  footer { margin-top: 10px; padding-bottom: 0; }
  footer p { margin: 0; padding-top: 6px; break-inside: avoid; }
  tr, svg, .models > li, #detail-figures, .fits li { break-inside: avoid; }
  thead { display: table-header-group; }
  h2, h3, figcaption, .bar, .lead { break-after: avoid; }
  .paper { display: inline; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .definitions { font-size: 9pt; }
}
`;
