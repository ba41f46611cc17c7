// Detections: a wall of what cameras saw.

import { useMemo, useState } from 'preact/hooks';
import { get, type Schema } from '../api/client';
import { useEvents, useLoad } from '../api/use';
import { allDevices, version } from '../fleet/store';
import { link, refine, route } from '../route';
import { plural, span, time, words } from '../ui/format';
import { Dialog } from '../ui/dialog';
import { Ago, Await, Badge, Button, Empty, Facts, Field, Head } from '../ui/parts';
import { Picture } from '../ui/picture';

type Detection = Schema['ListedDetection'];

const PAGE = 60;
const SPANS: [string, string, number][] = [
  ['hour', 'Last hour', 3600],
  ['day', 'Last 24 hours', 86_400],
  ['week', 'Last 7 days', 604_800],
];
/** What the sample model knows best; what was seen comes beside it. */
const COMMON = ['person', 'car', 'truck', 'bicycle', 'dog', 'cat'];

/** Newest first, as far back as asked: the API has no filter by time, so pages are read until then. */
async function read(device: string, object: string, since: number, pages: number, signal: AbortSignal) {
  const found: Detection[] = [];
  let cursor: number | undefined;
  for (let page = 0; page < pages; page++) {
    const list = await get('/api/kubeedge/detections', { query: { device_id: device || undefined, object: object || undefined, limit: PAGE, cursor }, signal });
    found.push(...list.detections);
    cursor = list.next_cursor ?? undefined;
    const last = list.detections.at(-1);
    if (cursor === undefined || !last || Date.parse(last.started_at) < since) {
      cursor = undefined;
      break;
    }
  }
  return { found: found.filter((one) => Date.parse(one.started_at) >= since), more: cursor !== undefined };
}

export function Detections() {
  const query = route.value.query;
  const device = query.get('device') ?? '';
  const object = query.get('object') ?? '';
  const within = query.get('within') ?? '';
  const boxes = query.get('boxes') !== 'off';
  const [pages, turn] = useState(1);
  const [waiting, wait] = useState(0);
  const [shown, show] = useState<string | null>(null);
  const seconds = SPANS.find(([name]) => name === within)?.[2];
  const list = useLoad((signal) => read(device, object, seconds ? Date.now() - seconds * 1000 : 0, pages, signal), [device, object, within, pages]);
  // New ones do not push away what somebody looks at: they are counted, and shown when asked for.
  useEvents((events) => {
    const fits = events.filter((e) => e.event === 'detection' && (!device || e.device_id === device) && (!object || e['object'] === object));
    const started = fits.filter((e) => e['phase'] === 'started').length;
    if (started) wait((n) => n + started);
    const over = new Map(fits.filter((e) => e['phase'] === 'ended').map((e) => [e['detection_id'], e]));
    if (over.size) {
      list.change((data) => ({ ...data, found: data.found.map((one) => (one.detection_id && over.has(one.detection_id) ? { ...one, ended_at: over.get(one.detection_id)?.timestamp ?? null } : one)) }));
    }
  });
  void version.value;
  const devices = useMemo(() => allDevices().map((d) => d.device_id).sort(), [version.value]);
  const objects = [...new Set([...COMMON, ...(list.data?.found.map((one) => one.object) ?? []), ...(object ? [object] : [])])].sort();
  const picked = list.data?.found.find((one) => one.detection_id === shown);
  const fresh = (): void => {
    wait(0);
    list.reload();
  };
  return (
    <>
      <Head title="Detections" note="The best look at each object; one that stays is one detection.">
        <Button kind={waiting ? 'primary' : 'plain'} onClick={fresh}>
          <span aria-live="polite">{waiting ? `Show ${plural(waiting, 'new detection')}` : 'Look again'}</span>
        </Button>
      </Head>
      <div class="filters">
        <Field label="Object">
          {(props) => (
            <select {...props} value={object} onChange={(e) => refine({ object: e.currentTarget.value })}>
              <option value="">All</option>
              {objects.map((name) => (
                <option key={name} value={name}>
                  {words(name)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Device">
          {(props) => (
            <>
              <input {...props} list="seen-devices" type="search" value={device} onChange={(e) => refine({ device: e.currentTarget.value.trim() })} placeholder="All" autocomplete="off" />
              <datalist id="seen-devices">
                {devices.slice(0, 1000).map((id) => (
                  <option key={id} value={id} />
                ))}
              </datalist>
            </>
          )}
        </Field>
        <Field label="Time">
          {(props) => (
            <select {...props} value={within} onChange={(e) => refine({ within: e.currentTarget.value })}>
              <option value="">All</option>
              {SPANS.map(([name, label]) => (
                <option key={name} value={name}>
                  {label}
                </option>
              ))}
            </select>
          )}
        </Field>
        <label class="check">
          <input type="checkbox" checked={boxes} onChange={(e) => refine({ boxes: e.currentTarget.checked ? '' : 'off' })} /> Boxes
        </label>
      </div>
      <Await of={list} rows={8}>
        {({ found, more }) =>
          found.length === 0 ? (
            <Empty title="Nothing was detected">
              {device || object || within ? (
                <Button onClick={() => refine({ device: '', object: '', within: '' })}>Clear the filters</Button>
              ) : (
                <>Send the command “Start detection” to a device with a camera.</>
              )}
            </Empty>
          ) : (
            <>
              <div class="wall live-data">
                {found.map((one) => (
                  <Shot key={one.detection_id ?? `${one.device_id}${one.track_id}${one.started_at}`} one={one} boxes={boxes} open={() => show(one.detection_id ?? null)} />
                ))}
              </div>
              {more && (
                <div class="empty">
                  <Button onClick={() => turn(pages + 1)}>Show older ones</Button>
                </div>
              )}
            </>
          )
        }
      </Await>
      {picked && (
        <Dialog title={`${words(picked.object)}, ${percentOf(picked)}`} close={() => show(null)}>
          <Picture url={picked.image_url} boxes={boxes} alt={`${words(picked.object)} seen by ${picked.device_id}`} eager />
          <Facts
            of={[
              ['Device', <a href={link(['devices', picked.device_id])}>{picked.device_id}</a>],
              ['Came', time(picked.started_at)],
              ['Went', picked.ended_at ? time(picked.ended_at) : 'still there'],
              ['Zones', picked.zones.join(', ') || null],
              ['Model', picked.model],
              ['Id', <code>{picked.detection_id}</code>],
            ]}
          />
        </Dialog>
      )}
    </>
  );
}

const percentOf = (one: Detection): string => `${Math.round(one.confidence * 100)} %`;

function Shot({ one, boxes, open }: { one: Detection; boxes: boolean; open: () => void }) {
  return (
    <button type="button" class="shot" onClick={open}>
      <Picture url={one.image_url} boxes={boxes} alt={`${words(one.object)} seen by ${one.device_id}`} />
      <span class="text">
        <span>
          <b class="ellipsis">{words(one.object)}</b>
          <span>{percentOf(one)}</span>
        </span>
        <span class="quiet small">
          <span class="ellipsis">{one.device_id}</span>
          <Ago at={one.started_at} />
        </span>
        <span class="small">
          {one.ended_at ? <span class="quiet">stayed {span((Date.parse(one.ended_at) - Date.parse(one.started_at)) / 1000)}</span> : <Badge tone="ok">There</Badge>}
          {one.zones.length > 0 && <span class="quiet ellipsis">{one.zones.join(', ')}</span>}
        </span>
      </span>
    </button>
  );
}
