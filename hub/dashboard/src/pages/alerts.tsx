// Alerts: what is wrong, and what was.

import { get } from '../api/client';
import { useEvents, useLoad, useThrottle } from '../api/use';
import { link, refine, route } from '../route';
import { fullTime, plural, span, words } from '../ui/format';
import { Ago, Await, Badge, Empty, Field, Head, Panel } from '../ui/parts';

const TYPES = ['device_offline', 'camera_lost', 'high_cpu', 'high_memory', 'high_temperature', 'disk_full', 'outbox_full', 'detection_failed', 'model_unavailable', 'certificate_expiring'];

export function Alerts() {
  const query = route.value.query;
  const which = query.get('show') ?? 'active';
  const type = query.get('type') ?? '';
  const device = query.get('device') ?? '';
  const list = useLoad(
    (signal) => get('/api/kubeedge/alerts', { query: { limit: 200, active: which === 'all' ? undefined : which === 'active', type: type || undefined, device_id: device || undefined }, signal }),
    [which, type, device],
  );
  const again = useThrottle(list.reload, 3000);
  useEvents((events) => events.some((event) => event.event === 'alert') && again());
  const types = [...new Set([...TYPES, ...(list.data?.alerts.map((alert) => alert.type) ?? [])])].sort();
  return (
    <>
      <Head title="Alerts" note="Each has one start and one end; what is over stays in the list." />
      <div class="filters">
        <Field label="Show">
          {(props) => (
            <select {...props} value={which} onChange={(e) => refine({ show: e.currentTarget.value })}>
              <option value="active">Active</option>
              <option value="over">Over</option>
              <option value="all">All</option>
            </select>
          )}
        </Field>
        <Field label="Type">
          {(props) => (
            <select {...props} value={type} onChange={(e) => refine({ type: e.currentTarget.value })}>
              <option value="">All</option>
              {types.map((name) => (
                <option key={name} value={name}>
                  {words(name)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Device">{(props) => <input {...props} type="search" value={device} onChange={(e) => refine({ device: e.currentTarget.value.trim() })} placeholder="All" />}</Field>
      </div>
      <Panel pad={false}>
        <Await of={list}>
          {(data) =>
            data.alerts.length === 0 ? (
              <Empty title={which === 'active' ? 'Nothing is wrong' : 'No alerts'}>{which === 'active' ? 'When a device goes, a camera fails or a limit is passed, it is here at once.' : ''}</Empty>
            ) : (
              <div class="table-box live-data" aria-live="polite">
                <table class="cards">
                  <thead>
                    <tr>
                      <th>Alert</th>
                      <th>Level</th>
                      <th>Device</th>
                      <th>Message</th>
                      <th>Began</th>
                      <th>Lasted</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.alerts.map((alert) => (
                      <tr key={`${alert.device_id}${alert.type}${alert.started_at}`}>
                        <td class="title">{words(alert.type)}</td>
                        <td data-name="Level">
                          <Badge tone={!alert.active ? 'quiet' : alert.level === 'critical' ? 'bad' : 'warn'}>{alert.active ? alert.level : 'over'}</Badge>
                        </td>
                        <td data-name="Device">{alert.device_id && <a href={link(['devices', alert.device_id])}>{alert.device_id}</a>}</td>
                        <td data-name="Message">{alert.message}</td>
                        <td data-name="Began" class="tight" title={fullTime(alert.started_at)}>
                          <Ago at={alert.started_at} />
                        </td>
                        <td data-name="Lasted" class="tight">{alert.ended_at ? span((Date.parse(alert.ended_at) - Date.parse(alert.started_at)) / 1000) : 'still there'}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
                {data.count > data.alerts.length && <p class="empty">The newest {data.alerts.length} of {plural(data.count, 'alert')}</p>}
              </div>
            )
          }
        </Await>
      </Panel>
    </>
  );
}
