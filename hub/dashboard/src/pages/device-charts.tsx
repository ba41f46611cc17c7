// CPU, memory and temperature as they are measured. The hub keeps no history of them, so a line
// begins when this page was opened.

import { useMemo } from 'preact/hooks';
import type { Schema } from '../api/client';
import { deviceOf, version } from '../fleet/store';
import { Chart } from '../ui/chart';
import { percent } from '../ui/format';
import { Panel } from '../ui/parts';

export function DeviceCharts({ id, status }: { id: string; status: Schema['DeviceStatus'] }) {
  void version.value;
  const history = deviceOf(id)?.history;
  const data = useMemo(() => {
    const points = [...(history ?? [])];
    // What it said before the page was opened is one more point.
    const at = status.last_heartbeat ? Date.parse(status.last_heartbeat) / 1000 : 0;
    if (at && (!points[0] || at < points[0].at)) {
      const memory = status.memory_total_bytes ? ((status.memory_used_bytes ?? 0) / status.memory_total_bytes) * 100 : null;
      points.unshift({ at, cpu: status.cpu_percent ?? null, memory, temperature: status.temperature_celsius ?? null });
    }
    return {
      times: points.map((point) => point.at),
      cpu: points.map((point) => point.cpu),
      memory: points.map((point) => point.memory),
      temperature: points.map((point) => point.temperature),
    };
  }, [history, status]);
  const last = (values: (number | null)[]): number | null => values.findLast((value) => value !== null) ?? null;
  const heat = last(data.temperature);
  return (
    <div class="grid three">
      <Panel title="CPU" actions={<b>{percent(last(data.cpu))}</b>}>
        <Chart label="CPU" unit="%" times={data.times} values={data.cpu} max={100} />
      </Panel>
      <Panel title="Memory" actions={<b>{percent(last(data.memory))}</b>}>
        <Chart label="Memory" unit="%" times={data.times} values={data.memory} max={100} />
      </Panel>
      <Panel title="Temperature" actions={heat !== null && <b>{Math.round(heat)} °C</b>}>
        {heat === null ? <p class="quiet">This device has no sensor for it.</p> : <Chart label="Temperature" unit="°" times={data.times} values={data.temperature} />}
      </Panel>
    </div>
  );
}
