import type { Schema } from '../api/client';
import { link } from '../route';
import { Badge, Panel } from '../ui/parts';

const TONES = { Running: 'ok', Pending: 'info', Failed: 'bad', Removing: 'warn', Unknown: 'warn' } as const;

/** How an app stands on a device. */
export function AppBadge({ status }: { status: Schema['AppStanding'] }) {
  return <Badge tone={TONES[status]}>{status}</Badge>;
}

export function DeviceApps({ id, apps }: { id: string; apps: Schema['Application'][] }) {
  return (
    <Panel title="Apps" pad={false} actions={<a href={link(['apps'], { device: id })}>All apps</a>}>
      {apps.length === 0 ? (
        <p class="empty">No app is deployed here.</p>
      ) : (
        <div class="table-box">
          <table>
            <tbody>
              {apps.map((app) => (
                <tr key={app.name}>
                  <td>
                    <b>{app.name}</b>
                    <div class="quiet small">{app.image}</div>
                    {app.message && <div class="bad-text small">{app.message}</div>}
                  </td>
                  <td class="end">
                    <AppBadge status={app.status} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}
