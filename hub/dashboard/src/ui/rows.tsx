// Long lists: only the rows that can be seen are in the document.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

interface Props<T> {
  items: T[];
  /** Of a row, px. */
  height: number;
  label: string;
  head: ComponentChildren;
  keyOf: (item: T) => string;
  row: (item: T) => ComponentChildren;
  class?: string;
}

const MORE = 8;

export function Rows<T>({ items, height, label, head, keyOf, row, class: more = '' }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [view, see] = useState({ first: 0, count: 30 });
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const look = (): void => {
      const first = Math.max(0, Math.floor(element.scrollTop / height) - MORE);
      const count = Math.ceil(element.clientHeight / height) + 2 * MORE;
      see((old) => (old.first === first && old.count === count ? old : { first, count }));
    };
    look();
    element.addEventListener('scroll', look, { passive: true });
    const watch = new ResizeObserver(look);
    watch.observe(element);
    return () => {
      element.removeEventListener('scroll', look);
      watch.disconnect();
    };
  }, [height]);
  /** Up and down go from row to row, as in a list of the system. */
  const move = (event: KeyboardEvent): void => {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    if (!(event.target instanceof HTMLAnchorElement)) return;
    const links = [...(box.current?.querySelectorAll<HTMLAnchorElement>('a.first') ?? [])];
    const next = links[links.indexOf(event.target) + (event.key === 'ArrowDown' ? 1 : -1)];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  };
  const first = Math.min(view.first, Math.max(0, items.length - view.count));
  const shown = items.slice(first, first + view.count);
  return (
    <div class={`rows ${more}`} role="table" aria-label={label} aria-rowcount={items.length + 1}>
      <div role="rowgroup">
        <div class="row header" role="row" aria-rowindex={1}>
          {head}
        </div>
      </div>
      <div class="scroll" ref={box} role="rowgroup" tabIndex={0} aria-label={`${label}, rows`} onKeyDown={move}>
        <div style={{ height: `${first * height}px` }} role="presentation" />
        {shown.map((item, i) => (
          <div class="row" role="row" key={keyOf(item)} aria-rowindex={first + i + 2} style={{ height: `${height}px` }}>
            {row(item)}
          </div>
        ))}
        <div style={{ height: `${Math.max(0, items.length - first - shown.length) * height}px` }} role="presentation" />
      </div>
    </div>
  );
}
