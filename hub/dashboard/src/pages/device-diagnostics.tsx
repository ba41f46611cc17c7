// Diagnostics: whether the way to a device, its ports and its camera work.

import { useState } from 'preact/hooks';
import { get, post, type Schema } from '../api/client';
import { useLoad, usePolling } from '../api/use';
import { CommandDetail } from '../commands/life';
import { useAction } from '../ui/dialog';
import { words } from '../ui/format';
import { Await, Badge, Button, Empty, Panel, Trouble } from '../ui/parts';

type Test = Schema['ConnectionTest'];
const TESTS: [Test, string][] = [
  ['ping', 'The way there and back'],
  ['port_check', 'Its own TCP ports'],
  ['camera_test', 'One picture of its camera'],
];

export function DeviceDiagnostics({ id }: { id: string }) {
  const [chosen, choose] = useState<ReadonlySet<Test>>(new Set(TESTS.map(([test]) => test)));
  const [test, keep] = useState<string | null>(null);
  const [check, follow] = useState<string | null>(null);
  const start = useAction(() => post('/api/kubeedge/test/connection', { body: { device_id: id, tests: [...chosen] } }), (answer) => keep(answer.test_id));
  const diagnose = useAction(() => post('/api/kubeedge/device/{device_id}/command', { path: { device_id: id }, body: { command: 'run_diagnostics', timeout: 60 } }), (sent) => follow(sent.command_id));
  return (
    <div class="grid">
      <Panel title="Connection tests">
        <div class="stack">
          <fieldset>
            <legend>What to test</legend>
            {TESTS.map(([name, about]) => (
              <label class="check" key={name}>
                <input
                  type="checkbox"
                  checked={chosen.has(name)}
                  onChange={() => {
                    const next = new Set(chosen);
                    if (!next.delete(name)) next.add(name);
                    choose(next);
                  }}
                />
                {words(name)} <span class="quiet">{about}</span>
              </label>
            ))}
          </fieldset>
          <div class="buttons left">
            <Button kind="primary" busy={start.busy} disabled={chosen.size === 0} onClick={() => void start.run()}>
              Test
            </Button>
          </div>
          {start.problem && <Trouble problem={start.problem} title="The test was not started" />}
          {test && <Results id={test} />}
        </div>
      </Panel>
      <Panel title="The agent’s own check">
        <div class="stack">
          <p class="help">Camera, model, disk, clock and link, as the agent finds them.</p>
          <div class="buttons left">
            <Button busy={diagnose.busy} onClick={() => void diagnose.run()}>
              Run diagnostics
            </Button>
          </div>
          {diagnose.problem && <Trouble problem={diagnose.problem} />}
          {check && <CommandDetail id={check} />}
        </div>
      </Panel>
    </div>
  );
}

function Results({ id }: { id: string }) {
  const report = useLoad((signal) => get('/api/kubeedge/test/results/{test_id}', { path: { test_id: id }, signal }), [id]);
  usePolling(report.reload, 1000, report.data?.status === 'running');
  return (
    <Await of={report}>
      {(data) => (
        <div aria-live="polite">
          {data.results.length === 0 && <Empty title="Nothing is known yet" />}
          {data.results.map((result) => (
            <details key={result.test} class="result">
              <summary>
                <span class="line">
                  <Badge tone={result.status === 'passed' ? 'ok' : result.status === 'failed' ? 'bad' : 'info'}>{result.status}</Badge>
                  {words(result.test)}
                  <span class="quiet">{result.latency ?? ''}</span>
                  {result.error && <span class="bad-text">{result.error}</span>}
                </span>
              </summary>
              <pre class="code-box" tabIndex={0}>{JSON.stringify(result.details, null, 2)}</pre>
            </details>
          ))}
        </div>
      )}
    </Await>
  );
}
