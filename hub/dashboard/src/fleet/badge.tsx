import { Badge } from '../ui/parts';
import { type Device, standing } from './store';

/** How a device stands, in a word. */
export function DeviceBadge({ device }: { device: Device }) {
  const state = standing(device);
  if (state === 'online') return <Badge tone="ok">Online</Badge>;
  if (state === 'pending') return <Badge tone="quiet">Not joined</Badge>;
  return <Badge tone="bad">Offline</Badge>;
}
