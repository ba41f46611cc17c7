// A line over time, by uPlot, in the theme's colours.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { theme } from './theme';

interface Props {
  label: string;
  unit: string;
  /** Seconds since the epoch, and the values then. */
  times: number[];
  values: (number | null)[];
  max?: number;
}

/** Seconds that are shown at least: a few points are no line over all of the width. */
const SHORTEST = 300;

const css = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** `light-dark(a, b)` and the like as a plain colour, which a canvas needs. */
function colour(name: string): string {
  const probe = document.createElement('i');
  probe.style.color = css(name);
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function padded(times: number[], values: (number | null)[]): uPlot.AlignedData {
  const last = times.at(-1) ?? Date.now() / 1000;
  const first = times[0] ?? last;
  return last - first < SHORTEST ? [[last - SHORTEST, ...times], [null, ...values]] : [times, values];
}

export function Chart({ label, unit, times, values, max }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shade = theme.value;
  useEffect(() => {
    const box = place.current;
    if (!box) return;
    const line = colour('--accent');
    const grid = colour('--line');
    const text = colour('--quiet');
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
    const made = new uPlot(
      {
        width: box.clientWidth || 300,
        height: 130,
        legend: { show: false },
        cursor: { y: false, points: { size: 7 } },
        padding: [8, 12, 0, 0],
        scales: { y: { range: (_, low, high) => (max ? [0, max] : low === null ? [0, 100] : [Math.floor(low - 2), Math.ceil(high + 2)]) } },
        axes: [
          { ...axis, size: 26, space: 70, values: (_, at) => at.map((t) => new Date(t * 1000).toTimeString().slice(0, 8)) },
          { ...axis, size: 44, space: 34, values: (_, at) => at.map((v) => `${v}${unit}`) },
        ],
        series: [{}, { label, stroke: line, width: 2, fill: line.replace('rgb(', 'rgba(').replace(')', ', 0.12)'), spanGaps: false, points: { show: (u) => u.data[0].length < 4, size: 5 } }],
      },
      padded(times, values),
      box,
    );
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: box.clientWidth, height: 130 }));
    watch.observe(box);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shade, unit, label, max]);
  useEffect(() => {
    plot.current?.setData(padded(times, values));
  }, [times, values, times.length]);
  const last = values.findLast((value) => value !== null);
  return <div class="chart" ref={place} role="img" aria-label={last == null ? `${label}: nothing measured yet` : `${label} over time, ${Math.round(last)}${unit} at last`} />;
}
