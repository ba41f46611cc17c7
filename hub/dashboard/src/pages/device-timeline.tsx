// When which object was there: a lane for each.

import { useState } from 'preact/hooks';
import { get } from '../api/client';
import { useEvents, useLoad, usePolling, useThrottle } from '../api/use';
import { plural, time, words } from '../ui/format';
import { Await, Empty, Panel } from '../ui/parts';

const SPANS: [number, string][] = [
  [900, '15 minutes'],
  [3600, '1 hour'],
  [21_600, '6 hours'],
  [86_400, '24 hours'],
];
const MOST = 500;
const LANES = 12;

export function Timeline({ id }: { id: string }) {
  const [seconds, reach] = useState(900);
  const list = useLoad((signal) => get('/api/kubeedge/detections', { query: { device_id: id, limit: MOST }, signal }), [id]);
  const again = useThrottle(list.reload, 8000);
  useEvents((events) => events.some((event) => event.event === 'detection' && event.device_id === id) && again());
  // The window moves on when nothing happens, too.
  usePolling(list.reload, 30_000, true);
  return (
    <Panel
      title="Detections over time"
      actions={
        <select aria-label="How far back" value={seconds} onChange={(e) => reach(Number(e.currentTarget.value))}>
          {SPANS.map(([value, label]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
      }
    >
      <Await of={list}>
        {(data) => {
          const end = Date.now();
          const start = end - seconds * 1000;
          const lanes = new Map<string, { from: number; to: number; open: boolean }[]>();
          for (const one of data.detections) {
            const to = one.ended_at ? Date.parse(one.ended_at) : end;
            const from = Date.parse(one.started_at);
            if (to < start) continue;
            const lane = lanes.get(one.object) ?? [];
            lane.push({ from: Math.max(from, start), to, open: !one.ended_at });
            lanes.set(one.object, lane);
          }
          if (lanes.size === 0) return <Empty title={`Nothing in the last ${SPANS.find(([value]) => value === seconds)?.[1]}`} />;
          const sorted = [...lanes].sort((a, b) => b[1].length - a[1].length).slice(0, LANES);
          const x = (at: number): number => ((at - start) / (end - start)) * 1000;
          return (
            <div class="stack">
              <div class="lanes">
                {sorted.map(([object, spans]) => (
                  <div class="lane" key={object}>
                    <span class="ellipsis" title={object}>
                      {words(object)}
                    </span>
                    <svg viewBox="0 0 1000 18" preserveAspectRatio="none" role="img" aria-label={`${words(object)}: ${plural(spans.length, 'time')}, last at ${time(Math.max(...spans.map((s) => s.from)))}`}>
                      {spans.map((one, i) => (
                        <rect key={i} class={one.open ? 'open' : ''} x={x(one.from)} y="3" width={Math.max(4, x(one.to) - x(one.from))} height="12" rx="2">
                          <title>
                            {time(one.from)} – {one.open ? 'still there' : time(one.to)}
                          </title>
                        </rect>
                      ))}
                    </svg>
                  </div>
                ))}
              </div>
              <div class="axis" aria-hidden="true">
                <span>{time(start)}</span>
                <span>{time((start + end) / 2)}</span>
                <span>now</span>
              </div>
              {data.count > data.detections.length && Date.parse(data.detections.at(-1)?.started_at ?? '') > start && <p class="help">Only the newest {MOST} are drawn.</p>}
            </div>
          );
        }}
      </Await>
    </Panel>
  );
}
