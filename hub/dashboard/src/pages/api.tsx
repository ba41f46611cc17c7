// API: the hub's own documentation of it, on which requests can be tried as who is logged in.

import { useRef } from 'preact/hooks';
import { session } from '../api/session';
import { Copy, Head, LinkButton, Panel } from '../ui/parts';

interface Swagger extends Window {
  ui?: { preauthorizeApiKey?: (name: string, key: string) => void };
}

const TRIES = 40;

export function Api() {
  const frame = useRef<HTMLIFrameElement>(null);
  const example = `curl ${location.origin}/api/kubeedge/devices -H 'X-API-Key: ck_…'`;
  /** Hands this session's token to the page in the frame, which is of this very hub. */
  const authorize = (tries = 0): void => {
    const inside = frame.current?.contentWindow as Swagger | null | undefined;
    const token = session.value?.token;
    if (!inside || !token || tries > TRIES) return;
    if (inside.ui?.preauthorizeApiKey && inside.document.querySelector('.opblock')) inside.ui.preauthorizeApiKey('bearer', token);
    else setTimeout(() => authorize(tries + 1), 250);
  };
  return (
    <>
      <Head title="API" note="All that these pages do, programs can do as well.">
        <LinkButton href="/api/kubeedge/openapi.json">OpenAPI</LinkButton>
        <LinkButton href="/api/kubeedge/postman.json">Postman</LinkButton>
        <LinkButton href="/api/kubeedge/swagger-ui/">Open alone</LinkButton>
      </Head>
      <Panel>
        <div class="line spread">
          <code>{example}</code>
          <Copy text={example} />
        </div>
      </Panel>
      <iframe ref={frame} class="swagger" src="/api/kubeedge/swagger-ui/" title="Swagger: the API’s operations" onLoad={() => authorize()} />
    </>
  );
}
