import { useEffect, useState } from 'preact/hooks';
import { document as fetched, put, s3 } from '../api';
import { Button, Field, Problem, Switch, useLoad } from '../ui';
import * as xml from '../xml';
import { Form } from './settings';

interface Rule {
  id: string;
  on: boolean;
  prefix: string;
  days: string;
  old: string;
  uploads: string;
  /** A rule with parts that the form has no field for; it is shown, and kept as it is. */
  raw?: Element;
}

const KNOWN = new Set(['ID', 'Status', 'Filter', 'Prefix', 'Expiration', 'NoncurrentVersionExpiration', 'AbortIncompleteMultipartUpload']);
const INNER = new Set(['Prefix', 'Days', 'NoncurrentDays', 'DaysAfterInitiation']);

function read(rule: Element): Rule {
  const inner = [...rule.children].flatMap((part) => (['Filter', 'Expiration', 'NoncurrentVersionExpiration', 'AbortIncompleteMultipartUpload'].includes(part.localName) ? [...part.children] : []));
  const simple = [...rule.children].every((part) => KNOWN.has(part.localName)) && inner.every((part) => INNER.has(part.localName));
  const out: Rule = {
    id: xml.text(rule, 'ID'),
    on: xml.text(rule, 'Status') === 'Enabled',
    prefix: xml.text(rule, 'Filter/Prefix') || xml.text(rule, 'Prefix'),
    days: xml.text(rule, 'Expiration/Days'),
    old: xml.text(rule, 'NoncurrentVersionExpiration/NoncurrentDays'),
    uploads: xml.text(rule, 'AbortIncompleteMultipartUpload/DaysAfterInitiation'),
  };
  return simple ? out : { ...out, raw: rule };
}

function write(rule: Rule): string {
  if (rule.raw) return xml.pretty(rule.raw);
  const text = xml.build('Rule', {
    ID: rule.id || undefined,
    Status: rule.on ? 'Enabled' : 'Disabled',
    Filter: { Prefix: rule.prefix },
    Expiration: rule.days ? { Days: rule.days } : undefined,
    NoncurrentVersionExpiration: rule.old ? { NoncurrentDays: rule.old } : undefined,
    AbortIncompleteMultipartUpload: rule.uploads ? { DaysAfterInitiation: rule.uploads } : undefined,
  });
  return text.replace(/^<\?xml[^>]*>/, '');
}

/** What goes by itself, and when. */
export function Lifecycle({ bucket }: { bucket: string }) {
  const load = useLoad(() => fetched(bucket, { lifecycle: '' }), [bucket]);
  const [rules, setRules] = useState<Rule[]>([]);
  useEffect(() => setRules(xml.all(load.value ?? null, 'Rule').map(read)), [load.value]);
  const change = (at: number, part: Partial<Rule>) => setRules(rules.map((rule, i) => (i === at ? { ...rule, ...part } : rule)));
  const save = async () => {
    const body = `<LifecycleConfiguration>${rules.map(write).join('')}</LifecycleConfiguration>`;
    await (rules.length ? put(bucket, { lifecycle: '' }, body) : s3('DELETE', bucket, { query: { lifecycle: '' } }));
    load.again();
  };
  if (load.error) return <Problem text={load.error} />;
  if (load.value === undefined) return <p class="sub">Loading …</p>;
  return (
    <Form save="Save rules" onSave={save}>
      <p>What goes by itself, and when. An empty number of days means never.</p>
      {rules.map((rule, at) => (
        <fieldset key={at}>
          <legend>{rule.id || `Rule ${at + 1}`}</legend>
          {rule.raw
            ? <pre class="preview" tabIndex={0} aria-label="Rule as XML">{xml.pretty(rule.raw)}</pre>
            : (
              <>
                <Switch label="On" checked={rule.on} onChange={(on) => change(at, { on })} />
                <Field label="Only below prefix"><input value={rule.prefix} spellcheck={false} onInput={(e) => change(at, { prefix: e.currentTarget.value })} /></Field>
                <div class="row">
                  <Field label="Objects go after, days"><input type="number" min="1" value={rule.days} onInput={(e) => change(at, { days: e.currentTarget.value })} /></Field>
                  <Field label="Old versions, days"><input type="number" min="1" value={rule.old} onInput={(e) => change(at, { old: e.currentTarget.value })} /></Field>
                  <Field label="Unfinished uploads, days"><input type="number" min="1" value={rule.uploads} onInput={(e) => change(at, { uploads: e.currentTarget.value })} /></Field>
                </div>
              </>
            )}
          <Button look="quiet" icon="trash" onClick={() => setRules(rules.filter((_, i) => i !== at))}>Take rule {at + 1} away</Button>
        </fieldset>
      ))}
      <Button icon="plus" onClick={() => setRules([...rules, { id: '', on: true, prefix: '', days: '30', old: '', uploads: '' }])}>Add a rule</Button>
    </Form>
  );
}
