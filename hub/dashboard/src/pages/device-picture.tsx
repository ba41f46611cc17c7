import { useState } from 'preact/hooks';
import { get, type Schema } from '../api/client';
import { may } from '../api/session';
import { useEvents, useLoad, useThrottle } from '../api/use';
import { link } from '../route';
import { fullTime, words } from '../ui/format';
import { Ago, Await, Empty, Panel } from '../ui/parts';
import { Picture } from '../ui/picture';

const KINDS: Record<Schema['PictureKind'], string> = {
  command: 'taken by command',
  scheduled: 'taken by the clock',
  snapshot: 'the best look at',
  pre_roll: 'before it came:',
};

/** The newest picture, with what was detected in it. */
export function LatestPicture({ id }: { id: string }) {
  const [boxes, draw] = useState(true);
  const list = useLoad((signal) => get('/api/kubeedge/device/{device_id}/pictures', { path: { device_id: id }, query: { limit: 1 }, signal }), [id]);
  const again = useThrottle(list.reload, 5000);
  useEvents((events) => {
    const mine = events.filter((event) => event.device_id === id);
    if (mine.some((event) => (event.event === 'command_result' && event['command'] === 'capture_image') || event.event === 'detection')) again();
  });
  return (
    <Panel
      title="Latest picture"
      actions={
        <label class="check">
          <input type="checkbox" checked={boxes} onChange={(e) => draw(e.currentTarget.checked)} /> Boxes
        </label>
      }
    >
      <Await of={list}>
        {(data) => {
          const picture = data.pictures[0];
          if (!picture) return <Empty title="No picture yet">{may('operator') ? 'Capture one, or start detection.' : 'It appears here when one is taken.'}</Empty>;
          return (
            <div class="stack">
              <Picture url={picture.image_url} boxes={boxes} alt={`The latest picture of ${id}${picture.object ? `, with ${picture.object}` : ''}`} eager />
              <p class="line spread small">
                <span title={fullTime(picture.timestamp)}>
                  <Ago at={picture.timestamp} />, {KINDS[picture.kind]} {picture.object && words(picture.object)}
                </span>
                <a href={link(['detections'], { device: id })}>All detections of this device</a>
              </p>
            </div>
          );
        }}
      </Await>
    </Panel>
  );
}
