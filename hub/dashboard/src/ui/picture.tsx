// A picture of a device. The event of an object comes before its picture does: what is not there
// yet is asked for again, and what never comes is said to be missing.

import { useEffect, useState } from 'preact/hooks';
import { pictureUrl } from '../api/client';
import { Icon } from './icons';

const WAITS = [1500, 3000, 6000, 12_000, 30_000];

export function Picture({ url, alt, boxes = false, eager = false }: { url: string | null | undefined; alt: string; boxes?: boolean; eager?: boolean }) {
  const [tries, again] = useState(0);
  const [state, set] = useState<'coming' | 'there' | 'missing'>('coming');
  const source = url ? pictureUrl(url, boxes) : null;
  const name = source?.split('?')[0];
  useEffect(() => {
    set('coming');
    again(0);
  }, [name, boxes]);
  if (!source || state === 'missing') {
    return (
      <div class="picture missing" role="img" aria-label={`${alt}: no picture`}>
        <Icon name="camera" />
        <span>No picture</span>
      </div>
    );
  }
  const failed = (): void => {
    const wait = WAITS[tries];
    if (wait === undefined) set('missing');
    else setTimeout(() => again((n) => (n === tries ? n + 1 : n)), wait);
  };
  return (
    <div class={`picture ${state}`}>
      <img key={`${name}${boxes}${tries}`} src={source} alt={alt} loading={eager ? 'eager' : 'lazy'} decoding="async" onLoad={() => set('there')} onError={failed} />
    </div>
  );
}
