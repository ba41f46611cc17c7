// A form made from a command's schema.

import { useState } from 'preact/hooks';
import { Button, Field } from '../ui/parts';
import { COMMANDS, type Filled, type ParameterField, parametersOf, schemaOf } from './schema';

export interface Order {
  command: string;
  parameters: Record<string, unknown>;
  timeout: number;
}

interface Props {
  send: (order: Order) => void;
  busy: boolean;
  verb: string;
  disabled?: boolean;
  /** Only this command. */
  only?: string;
}

export function CommandForm({ send, busy, verb, disabled, only }: Props) {
  const [name, choose] = useState(only ?? 'capture_image');
  const [filled, fill] = useState<Filled>({});
  const [timeout, limit] = useState('');
  const [faults, blame] = useState<Record<string, string>>({});
  const schema = schemaOf(name);
  if (!schema) return null;
  const usual = schema.timeout ?? 30;
  const submit = (event: Event): void => {
    event.preventDefault();
    const made = parametersOf(schema, filled);
    blame(made.faults);
    if (Object.keys(made.faults).length > 0) return;
    send({ command: name, parameters: made.parameters, timeout: Number(timeout) || usual });
  };
  return (
    <form class="form" onSubmit={submit} noValidate>
      {!only && (
        <Field label="Command" help={schema.about}>
          {(props) => (
            <select
              {...props}
              value={name}
              onChange={(e) => {
                choose(e.currentTarget.value);
                fill({});
                blame({});
              }}
            >
              {COMMANDS.map((known) => (
                <option key={known.name} value={known.name}>
                  {known.label}
                </option>
              ))}
            </select>
          )}
        </Field>
      )}
      {schema.fields.length > 0 && (
        <div class="form two">
          {schema.fields.map((field) => (
            <Field key={`${name}.${field.name}`} label={field.required ? `${field.label} (needed)` : field.label} help={field.help} error={faults[field.name]}>
              {(props) => <Control field={field} props={props} value={filled[field.name] ?? ''} change={(value) => fill((old) => ({ ...old, [field.name]: value }))} />}
            </Field>
          ))}
        </div>
      )}
      <Field label="Time limit, seconds" help="A device that is away gets the command if it returns in time.">
        {(props) => <input {...props} type="number" min={1} max={86_400} placeholder={String(usual)} value={timeout} onInput={(e) => limit(e.currentTarget.value)} />}
      </Field>
      <div class="buttons left">
        <Button kind={schema.heavy ? 'danger' : 'primary'} type="submit" busy={busy} disabled={disabled}>
          {verb}
        </Button>
      </div>
    </form>
  );
}

interface ControlProps {
  field: ParameterField;
  props: { id: string; 'aria-describedby'?: string; 'aria-invalid'?: boolean };
  value: string;
  change: (value: string) => void;
}

function Control({ field, props, value, change }: ControlProps) {
  const common = { ...props, placeholder: field.placeholder, autocomplete: 'off', spellcheck: false };
  switch (field.kind) {
    case 'choice':
    case 'boolean': {
      const choices = field.kind === 'boolean' ? ['true', 'false'] : (field.choices ?? []);
      return (
        <select {...props} value={value} onChange={(e) => change(e.currentTarget.value)}>
          <option value="">As it is</option>
          {choices.map((choice) => (
            <option key={choice} value={choice}>
              {field.kind === 'boolean' ? (choice === 'true' ? 'Yes' : 'No') : choice}
            </option>
          ))}
        </select>
      );
    }
    case 'json':
      return <textarea {...common} class="code" rows={3} value={value} onInput={(e) => change(e.currentTarget.value)} />;
    case 'number':
    case 'integer':
      return <input {...common} inputMode="decimal" value={value} onInput={(e) => change(e.currentTarget.value)} />;
    default:
      return <input {...common} value={value} onInput={(e) => change(e.currentTarget.value)} />;
  }
}
