// What each command is told, as `protocol/src/command` reads it: the form is made from this.
// A test holds the names to the API's document.

export type FieldKind = 'text' | 'number' | 'integer' | 'boolean' | 'choice' | 'labels' | 'ports' | 'json';

export interface ParameterField {
  name: string;
  label: string;
  kind: FieldKind;
  help?: string;
  placeholder?: string;
  min?: number;
  max?: number;
  step?: number;
  choices?: string[];
  pattern?: string;
  required?: boolean;
}

export interface CommandSchema {
  name: string;
  label: string;
  about: string;
  fields: ParameterField[];
  /** Seconds that it may well take. */
  timeout?: number;
  /** Whether it disturbs the device. */
  heavy?: boolean;
}

const confidence: ParameterField = { name: 'confidence', label: 'Least confidence', kind: 'number', min: 0, max: 1, step: 0.01, placeholder: '0.5' };
const model: ParameterField = { name: 'model', label: 'Model', kind: 'text', placeholder: 'nanodet@3.0.4', help: 'A model of the catalog, as name@version.' };
const lines = (most: number): ParameterField => ({ name: 'lines', label: 'Lines', kind: 'integer', min: 1, max: most, placeholder: '200' });

export const COMMANDS: CommandSchema[] = [
  {
    name: 'capture_image',
    label: 'Capture image',
    about: 'Takes a picture and brings it to the hub.',
    fields: [
      { name: 'resolution', label: 'Resolution', kind: 'text', pattern: '[0-9]+x[0-9]+', placeholder: '1920x1080', help: 'The camera’s own where empty.' },
      { name: 'format', label: 'Format', kind: 'choice', choices: ['jpg', 'png'] },
      { name: 'quality', label: 'Quality', kind: 'integer', min: 1, max: 100, placeholder: '90', help: 'Of a JPEG.' },
    ],
  },
  { name: 'get_status', label: 'Get status', about: 'Has the device report now.', fields: [] },
  {
    name: 'start_detection',
    label: 'Start detection',
    about: 'Watches the camera for objects. What is empty keeps its setting.',
    timeout: 120,
    fields: [confidence, { name: 'interval', label: 'Frame every, seconds', kind: 'number', min: 0.05, max: 86_400, step: 0.01, placeholder: '1' }, model],
  },
  { name: 'stop_detection', label: 'Stop detection', about: 'Stops watching the camera.', fields: [] },
  {
    name: 'set_config',
    label: 'Set configuration',
    about: 'Changes settings of the agent and keeps them. What is empty stays.',
    timeout: 120,
    fields: [
      { name: 'heartbeat_interval', label: 'Heartbeat every, seconds', kind: 'number', min: 0.05, max: 86_400, step: 0.1 },
      { name: 'detection_interval', label: 'Frame every, seconds', kind: 'number', min: 0.05, max: 86_400, step: 0.01 },
      confidence,
      model,
      { name: 'camera', label: 'Camera', kind: 'text', placeholder: 'rtsp://camera.local/stream', help: 'v4l2, file, rtsp or http URL.' },
      { name: 'objects', label: 'Objects that count', kind: 'labels', placeholder: 'person, car' },
      { name: 'capture_interval', label: 'Scheduled picture every, seconds', kind: 'number', min: 0, max: 86_400, help: '0 for none.' },
      { name: 'snapshots', label: 'Keep the best look', kind: 'boolean' },
      { name: 'snapshot_quality', label: 'Quality of snapshots', kind: 'integer', min: 1, max: 100 },
      { name: 'pre_roll', label: 'Seconds from before it came', kind: 'number', min: 0, max: 30, help: '1 to 30, or 0 for none.' },
      { name: 'pre_roll_pictures', label: 'Pictures from before', kind: 'integer', min: 1, max: 10 },
      { name: 'stationary_interval', label: 'Look at what stands still every, seconds', kind: 'number', min: 0.05, max: 86_400, step: 0.1 },
      { name: 'only_in_zones', label: 'Only objects in a zone count', kind: 'boolean' },
      { name: 'zones', label: 'Zones', kind: 'json', placeholder: '[{"name":"door","points":[[0.4,0.3],[0.6,0.3],[0.6,1]]}]' },
      { name: 'masks', label: 'Masks of motion', kind: 'json', placeholder: '[[[0,0],[1,0],[1,0.1]]]' },
      { name: 'object_masks', label: 'Masks of objects', kind: 'json', placeholder: '[{"points":[[0.8,0],[1,0],[1,0.5]],"objects":["car"]}]' },
      { name: 'filters', label: 'Filters', kind: 'json', placeholder: '[{"object":"person","confidence":0.4}]' },
    ],
  },
  { name: 'run_diagnostics', label: 'Run diagnostics', about: 'Checks camera, model, disk, clock and link.', fields: [], timeout: 60 },
  { name: 'reboot', label: 'Reboot', about: 'Restarts the machine, where its owner allows that.', fields: [], timeout: 120, heavy: true },
  { name: 'ping', label: 'Ping', about: 'Says how long the way to the device and back takes.', fields: [] },
  {
    name: 'port_check',
    label: 'Check ports',
    about: 'Tries to connect to TCP ports of the device itself.',
    fields: [
      { name: 'host', label: 'Address', kind: 'text', placeholder: '127.0.0.1', help: 'One of the device’s own.' },
      { name: 'ports', label: 'Ports', kind: 'ports', placeholder: '22, 80, 443' },
    ],
  },
  { name: 'camera_test', label: 'Test camera', about: 'Takes one picture and throws it away.', fields: [] },
  {
    name: 'get_logs',
    label: 'Get logs',
    about: 'The last lines of the agent’s own log.',
    fields: [
      lines(5000),
      { name: 'since', label: 'Since', kind: 'text', placeholder: '600', help: 'So many seconds ago, or a time such as 2026-01-15T10:30:00Z.' },
      { name: 'level', label: 'Level', kind: 'choice', choices: ['error', 'warn', 'info', 'debug', 'trace'] },
    ],
  },
  {
    name: 'exec',
    label: 'Run program',
    about: 'Runs a program that the node’s owner lists in agent.toml.',
    heavy: true,
    fields: [
      { name: 'name', label: 'Program', kind: 'text', required: true, pattern: '[A-Za-z0-9_\\-]{1,50}', placeholder: 'disk' },
      { name: 'parameters', label: 'Values of its placeholders', kind: 'json', placeholder: '{"path":"/var"}' },
    ],
  },
  {
    name: 'upload_file',
    label: 'Upload file',
    about: 'Brings a file to the hub that the node’s owner gives away.',
    timeout: 300,
    fields: [{ name: 'path', label: 'Path', kind: 'text', required: true, pattern: '/.*', placeholder: '/var/log/shop/today.log' }],
  },
  {
    name: 'deploy_app',
    label: 'Deploy app',
    about: 'Runs a container on the device. The page Apps does it on many and keeps an eye on it.',
    timeout: 600,
    heavy: true,
    fields: [
      { name: 'name', label: 'Name', kind: 'text', required: true },
      { name: 'image', label: 'Image', kind: 'text', required: true, placeholder: 'registry.local/app:1.0' },
      { name: 'config', label: 'Configuration', kind: 'json', placeholder: '{"interval":5}' },
      { name: 'resources', label: 'Limits', kind: 'json', placeholder: '{"cpu":"500m","memory":"512Mi"}' },
      { name: 'ports', label: 'Ports', kind: 'json', placeholder: '[{"host":5001,"container":5001}]' },
    ],
  },
  { name: 'remove_app', label: 'Remove app', about: 'Stops and removes an app.', heavy: true, timeout: 120, fields: [{ name: 'name', label: 'Name', kind: 'text', required: true }] },
  {
    name: 'get_app_logs',
    label: 'Get app logs',
    about: 'What an app has said last.',
    fields: [{ name: 'name', label: 'App', kind: 'text', required: true }, lines(1000), { name: 'since', label: 'Since', kind: 'text', placeholder: '2026-01-15T10:30:00Z' }],
  },
  { name: 'restart_agent', label: 'Restart agent', about: 'Stops the agent in order and starts it again.', fields: [], timeout: 120, heavy: true },
  {
    name: 'update_agent',
    label: 'Update agent',
    about: 'Runs another signed release of the agent, and the one before if that does not reach the hub.',
    timeout: 600,
    heavy: true,
    fields: [
      { name: 'version', label: 'Version', kind: 'text', placeholder: '0.2.0', help: 'The newest that the hub has where empty.' },
      { name: 'confirm_within', label: 'Seconds to reach the hub', kind: 'integer', min: 5, max: 3600, placeholder: '120' },
    ],
  },
];

export const schemaOf = (name: string): CommandSchema | undefined => COMMANDS.find((schema) => schema.name === name);

/** Parameters as the form holds them: texts by name. */
export type Filled = Record<string, string>;

/** The parameters as they are sent, or what is wrong with which field. */
export function parametersOf(schema: CommandSchema, filled: Filled): { parameters: Record<string, unknown>; faults: Record<string, string> } {
  const parameters: Record<string, unknown> = {};
  const faults: Record<string, string> = {};
  for (const field of schema.fields) {
    const text = (filled[field.name] ?? '').trim();
    if (!text) {
      if (field.required) faults[field.name] = 'This is needed.';
      continue;
    }
    try {
      parameters[field.name] = valueOf(field, text);
    } catch (error) {
      faults[field.name] = error instanceof Error ? error.message : String(error);
    }
  }
  return { parameters, faults };
}

function valueOf(field: ParameterField, text: string): unknown {
  switch (field.kind) {
    case 'number':
    case 'integer': {
      const value = Number(text);
      if (!Number.isFinite(value) || (field.kind === 'integer' && !Number.isInteger(value))) throw new Error('This is no number.');
      if ((field.min !== undefined && value < field.min) || (field.max !== undefined && value > field.max)) throw new Error(`From ${field.min} to ${field.max}.`);
      return value;
    }
    case 'boolean':
      return text === 'true';
    case 'labels':
      return text.split(',').map((label) => label.trim()).filter(Boolean);
    case 'ports': {
      const ports = text.split(/[ ,]+/).filter(Boolean).map(Number);
      if (ports.some((port) => !Number.isInteger(port) || port < 1 || port > 65_535)) throw new Error('Ports are numbers from 1 to 65535.');
      return ports;
    }
    case 'json':
      try {
        return JSON.parse(text);
      } catch {
        throw new Error('This is no JSON.');
      }
    default: {
      if (field.pattern && !new RegExp(`^(?:${field.pattern})$`).test(text)) throw new Error(`Like ${field.placeholder}.`);
      // `since` is a number of seconds or a time.
      return field.name === 'since' && /^\d+$/.test(text) ? Number(text) : text;
    }
  }
}
