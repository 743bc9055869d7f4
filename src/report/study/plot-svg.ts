import type { LinePlot, PicturePlot, Plot, PlotAxis, PlotSeries } from '../../study/study.js';
import { type Axis, axisAround, type Scale, scaleOf, type Tick, ticksOf } from '../html/axis.js';
import { html, type Markup } from '../html/markup.js';
import { seriesClass } from '../html/series.js';
import { LIGHT_COLOURS } from '../html/styles.js';
import { pngOf, shade } from './picture.js';

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', 'DejaVu Sans', sans-serif";
const [WIDTH, HEIGHT] = [640, 400];
const [TOP, BOTTOM, LEFT] = [16, HEIGHT - 48, 62];
/** None like the dots of published curves, which have the colour of ours. */
const DASHES = ['none', '7 3', '6 2 1.5 2 1.5 2', '9 3 2 3', '12 4'] as const;

/**
 * A plot as SVG that needs no style sheet: on white, in the colours of paper. Within a page, whose rules come before what
 * stands here, it takes the page's colours, by the classes.
 *
 * @example
 * const { report } = await runStudy('init', { seeds: 8 });
 * for (const plot of report.plots) await writeFile(`${plot.name}.svg`, plotSvg(plot));
 */
export function plotSvg(plot: Plot): string {
  return (plot.kind === 'lines' ? lines(plot) : pictures(plot)).text;
}

/** A series as it is drawn. */
interface Drawn {
  readonly series: PlotSeries;
  readonly colour: number;
}

function lines(plot: LinePlot): Markup {
  const groups = [...new Set(plot.series.map(({ group, name }) => group ?? name))];
  const drawn = plot.series.map(
    (series): Drawn => ({ series, colour: groups.indexOf(series.group ?? series.name) }),
  );
  const [x, y] = [
    axisOf(
      plot.x,
      plot.series.flatMap(({ xs }) => xs),
    ),
    axisOf(
      plot.y,
      plot.series.flatMap(({ ys, lows = [], highs = [] }) => [...ys, ...lows, ...highs]),
    ),
  ];
  const names = plot.series.map(({ name }) => name);
  const wide = 34 + 6.4 * Math.max(0, ...names.map((name) => name.length));
  const right = WIDTH - 16;
  const height = Math.max(HEIGHT, 30 + 18 * names.length);
  const full = Math.round(right + wide);
  const scales = { x: scaleOf(x, LEFT, right), y: scaleOf(y, BOTTOM, TOP) };
  return html`<svg xmlns="http://www.w3.org/2000/svg" class="plot study" width="${full}" height="${height}" viewBox="0 0 ${full} ${height}" role="img" font-family="${FONT}" font-size="11.5" data-plot="${plot.name}"><title>${plot.title}</title><rect class="paper-ground" width="${full}" height="${height}" fill="#ffffff"/>
${axes(plot, { x, y }, scales, right)}
${drawn.map((one) => curve(one, scales))}
${drawn.map((one, index) => legend(one, right + 10, TOP + 8 + 18 * index))}
</svg>`;
}

function axisOf({ label, log = false, marks = [] }: PlotAxis, values: readonly number[]): Axis {
  const all = [...values, ...marks].filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (all.length === 0) return { log: false, from: 0, to: 1, label };
  return axisAround(all, label, { log });
}

interface Scales {
  readonly x: Scale;
  readonly y: Scale;
}

function px(value: number): string {
  return String(Math.round(value * 100) / 100);
}

function axes(
  plot: LinePlot,
  { x, y }: { readonly x: Axis; readonly y: Axis },
  scales: Scales,
  right: number,
): Markup {
  const xTicks = marksOf(plot.x, x, 9);
  const yTicks = marksOf(plot.y, y, 7);
  const middle = px((TOP + BOTTOM) / 2);
  return html`<g class="axis">${xTicks.map(
    ({ at, text }) =>
      html`<path class="grid" d="M${px(scales.x(at))} ${TOP}V${BOTTOM}" fill="none" stroke="#e9ecf0"/>${text !== '' && html`<text x="${px(scales.x(at))}" y="${BOTTOM + 16}" text-anchor="middle" fill="#55606f">${text}</text>`}`,
  )}${yTicks.map(
    ({ at, text }) =>
      html`<path class="grid" d="M${LEFT} ${px(scales.y(at))}H${right}" fill="none" stroke="#e9ecf0"/>${text !== '' && html`<text x="${LEFT - 6}" y="${px(scales.y(at))}" dy="0.35em" text-anchor="end" fill="#55606f">${text}</text>`}`,
  )}<path class="frame" d="M${LEFT} ${TOP}V${BOTTOM}H${right}" fill="none" stroke="#55606f"/><text class="label" x="${px((LEFT + right) / 2)}" y="${HEIGHT - 10}" text-anchor="middle" fill="#171c24" font-size="12.5">${plot.x.label}</text><text class="label" x="14" y="${middle}" text-anchor="middle" transform="rotate(-90 14 ${middle})" fill="#171c24" font-size="12.5">${plot.y.label}</text></g>`;
}

function marksOf({ marks }: PlotAxis, axis: Axis, most: number): readonly Tick[] {
  return marks === undefined ? ticksOf(axis, most) : marks.map((at) => ({ at, text: String(at) }));
}

function inkOf({ colour, series }: Drawn): {
  readonly stroke: string;
  readonly dash: string;
  readonly name: string;
} {
  return {
    stroke: LIGHT_COLOURS[colour % LIGHT_COLOURS.length] ?? '#000000',
    dash: series.isPublished === true ? '2 3' : (DASHES[colour % DASHES.length] ?? 'none'),
    name: `${seriesClass(colour)}${series.isPublished === true ? ' published' : ''}`,
  };
}

/** Curves of more points than this have no marks. */
const MOST_MARKS = 40;

function curve(drawn: Drawn, { x, y }: Scales): Markup {
  const { xs, ys, lows, highs, isPublished, name } = drawn.series;
  const { stroke, dash, name: classes } = inkOf(drawn);
  const at = (value: number, index: number): string => `${px(x(xs[index] ?? 0))} ${px(y(value))}`;
  const isDrawn = (value: number, index: number): boolean => {
    const [px, py] = [x(xs[index] ?? Number.NaN), y(value)];
    return Number.isFinite(px) && Number.isFinite(py);
  };
  const points = ys.flatMap((value, index) => (isDrawn(value, index) ? [at(value, index)] : []));
  if (points.length === 0) return html``;
  const hasBand = lows !== undefined && highs !== undefined && [...lows, ...highs].every(isDrawn2(y));
  const band =
    hasBand && lows.length > 1
      ? html`<path class="area" d="M${[...highs.map(at), ...lows.map(at).reverse()].join('L')}Z" fill="${stroke}" fill-opacity="0.16"/>`
      : html``;
  const bars =
    hasBand && ys.length <= MOST_MARKS
      ? html`<path class="interval" d="${lows.map((low, index) => `M${at(low, index)}V${px(y(highs[index] ?? low))}`).join('')}" fill="none" stroke="${stroke}"/>`
      : html``;
  const marks =
    ys.length > MOST_MARKS
      ? html``
      : html`${ys.map(
          (value, index) =>
            isDrawn(value, index) &&
            html`<circle class="dot" cx="${px(x(xs[index] ?? 0))}" cy="${px(y(value))}" r="3" fill="${isPublished === true ? '#ffffff' : stroke}" stroke="${stroke}"><title>${name}: ${xs[index]}, ${Number(value.toPrecision(4))}${hasBand && ` (${Number(lows[index]?.toPrecision(4))} to ${Number(highs[index]?.toPrecision(4))})`}</title></circle>`,
        )}`;
  return html`<g class="${classes}">${band}<path class="line" d="M${points.join('L')}" fill="none" stroke="${stroke}" stroke-width="1.9" stroke-linejoin="round" stroke-dasharray="${dash}"/>${bars}${marks}</g>`;
}

function isDrawn2(y: Scale): (value: number) => boolean {
  return (value) => Number.isFinite(y(value));
}

function legend(drawn: Drawn, x: number, y: number): Markup {
  const { stroke, dash, name } = inkOf(drawn);
  return html`<g class="${name}"><path class="line" d="M${px(x)} ${y}h22" fill="none" stroke="${stroke}" stroke-width="1.9" stroke-dasharray="${dash}"/><text x="${px(x + 28)}" y="${y}" dy="0.35em" fill="#55606f">${drawn.series.name}</text></g>`;
}

const [TILE, GAP] = [148, 14];
const A_ROW = 5;

function pictures(plot: PicturePlot): Markup {
  const count = plot.pictures.length;
  const columns = Math.min(A_ROW, count);
  const rows = Math.ceil(count / A_ROW);
  const width = columns * (TILE + GAP) + 60;
  const height = rows * (TILE + 34) + 6;
  const top = plot.pictures[0]?.picture.top ?? 1;
  const [from, to] = [TILE + 14, 22];
  const scale = Array.from({ length: 32 }, (_, i) => i);
  const barX = columns * (TILE + GAP) + 8;
  const step = (from - to) / scale.length;
  return html`<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="plot study" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" font-family="${FONT}" font-size="11.5" data-plot="${plot.name}"><title>${plot.title}</title><rect class="paper-ground" width="${width}" height="${height}" fill="#ffffff"/>
${plot.pictures.map(({ label, picture }, index) => {
  const [x, y] = [(index % A_ROW) * (TILE + GAP) + 4, Math.floor(index / A_ROW) * (TILE + 34) + 20];
  return html`<text class="label" x="${x}" y="${y - 6}" fill="#171c24">${label}</text><image x="${x}" y="${y}" width="${TILE}" height="${TILE}" preserveAspectRatio="none" image-rendering="pixelated" href="data:image/png;base64,${pngOf(picture).toString('base64')}"/>
`;
})}${scale.map((i) => html`<rect x="${barX}" y="${px(from - (i + 1) * step)}" width="12" height="${px(step + 0.5)}" fill="${shade((i + 0.5) / scale.length)}"/>`)}<text x="${barX + 16}" y="${from}" fill="#55606f">0</text><text x="${barX + 16}" y="${to + 8}" fill="#55606f">${top}</text></svg>`;
}
