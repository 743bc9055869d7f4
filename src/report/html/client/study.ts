import { attachPage, el } from './dom.js';

/** Pixels of a PNG to one of the plot. */
const DENSITY = 2;

/** The plot as it stands in the page: it has the colours of paper as attributes. */
function textOf(plot: SVGElement): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(plot)}\n`;
}

function save(blob: Blob, file: string): void {
  const url = URL.createObjectURL(blob);
  const link = el('a', { href: url, download: file });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function savePng(plot: SVGElement, vector: Blob, file: string): void {
  const url = URL.createObjectURL(vector);
  const image = new Image();
  image.addEventListener('load', () => {
    const canvas = el('canvas');
    canvas.width = DENSITY * Number(plot.getAttribute('width'));
    canvas.height = DENSITY * Number(plot.getAttribute('height'));
    canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(url);
    canvas.toBlob((blob) => {
      if (blob !== null) save(blob, file);
    }, 'image/png');
  });
  image.src = url;
}

attachPage();
for (const button of document.querySelectorAll<HTMLElement>('button[data-save]')) {
  button.addEventListener('click', () => {
    const plot = button.closest('figure')?.querySelector<SVGElement>('svg.plot');
    if (!plot) return;
    const vector = new Blob([textOf(plot)], { type: 'image/svg+xml' });
    const { save: kind, name } = button.dataset;
    if (kind === 'png') savePng(plot, vector, `${name}.png`);
    else save(vector, `${name}.svg`);
  });
}
document.documentElement.dataset.ready = 'true';
