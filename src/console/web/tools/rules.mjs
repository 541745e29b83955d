// The alerting rules of deploy/grafana, by what Prometheus demands of a rule file before it takes it.
// Source: Prometheus, "Recording rules" and "Alerting rules" (fields and their types, unknown ones are
// refused; names of groups and rules are not repeated; a rule has `record` or `alert`, and a record neither
// `for` nor annotations), "Data model" (names of labels). Each query, legend and template is looked at.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { check, checkTheCheck } from './promql.mjs';

const file = (name) => readFileSync(new URL(`../../../../deploy/grafana/${name}`, import.meta.url), 'utf8');
const fail = (why) => { throw new Error(why); };

const isText = (value) => typeof value === 'string';
const isName = (value) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(value);
const isDuration = (value) => isText(value) && /^(?=\d)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$/.test(value);
const isNumber = (value) => Number.isInteger(value) && value >= 0;
const isTexts = (value) => value !== null && typeof value === 'object' && !Array.isArray(value) && Object.entries(value).every(([name, text]) => isName(name) && name !== '__name__' && isText(text));

const FILE = { groups: Array.isArray };
const GROUP = { name: (value) => isText(value) && value !== '', interval: isDuration, query_offset: isDuration, limit: isNumber, labels: isTexts, rules: Array.isArray };
const RULE = { record: (value) => isName(String(value).replaceAll(':', '_')), alert: isText, expr: isText, for: isDuration, keep_firing_for: isDuration, labels: isTexts, annotations: isTexts };

/** Only these fields, each of its type. */
function shaped(value, shape, needed, what) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) fail(`${what} is no map`);
  for (const [name, one] of Object.entries(value)) {
    if (!shape[name]) fail(`${what} has a field ${name}, which Prometheus does not know`);
    if (!shape[name](one)) fail(`${what}: ${name} is ${JSON.stringify(one)}`);
  }
  for (const name of needed) if (!(name in value)) fail(`${what} has no ${name}`);
}

/** Labels that the templates of a text name; of Go's templates only this form is taken. */
function templates(text) {
  if (text.split('{{').length !== text.split('}}').length) fail(`\`${text}\` does not end`);
  return [...text.matchAll(/\{\{(.*?)\}\}/g)].map(([, inner]) => inner.trim()).filter((inner) => inner !== '$value').map((inner) => {
    const [, label] = /^\$labels\.([A-Za-z_]\w*)$/.exec(inner) ?? fail(`\`${inner}\`: the check does not know it`);
    return label;
  });
}

function rule(one, what) {
  shaped(one, RULE, ['expr'], what);
  if ('alert' in one === 'record' in one) fail(`${what} has one of alert and record`);
  if ('record' in one && ['for', 'keep_firing_for', 'annotations'].some((name) => name in one)) fail(`${what} is recorded: it has neither \`for\` nor annotations`);
  const labels = check(one.expr) ?? new Set();
  for (const text of [...Object.values(one.annotations ?? {}), ...Object.values(one.labels ?? {})]) {
    for (const label of templates(text)) if (!labels.has(label)) fail(`${what}: \`${text}\` names ${label}, which no answer of it has`);
  }
}

/** The rules of a file. */
function rules(text) {
  const whole = parse(text, { uniqueKeys: true, strict: true });
  shaped(whole, FILE, ['groups'], 'the file');
  const groups = new Set();
  const seen = new Set();
  for (const group of whole.groups) {
    shaped(group, GROUP, ['name'], 'a group');
    if (groups.has(group.name)) fail(`the group ${group.name} stands twice`);
    groups.add(group.name);
    for (const one of group.rules ?? []) {
      rule(one, one?.alert ?? one?.record ?? 'a rule');
      const same = JSON.stringify([one.alert ?? one.record, one.labels]);
      if (seen.has(same)) fail(`${one.alert ?? one.record} stands twice`);
      seen.add(same);
    }
  }
  return whole.groups.flatMap((group) => group.rules ?? []);
}

/** Files that Prometheus would refuse are found. */
function checkTheRules() {
  const good = "groups:\n- name: a\n  interval: 30s\n  rules:\n  - alert: Down\n    expr: godwit_ready == 0\n    for: 5m\n    labels: {severity: page}\n    annotations: {summary: '{{ $labels.instance }} is down'}\n";
  if (rules(good).length !== 1) fail('the check of rules reads none');
  for (const [was, is, why] of [
    ['alert:', 'allert:', 'allert'], ['godwit_ready', 'godwit_reedy', 'no node exposes'], ['== 0', '==', 'no PromQL'],
    ['5m', 'five minutes', 'for is'], ['5m', '300', 'for is'], ['severity', 'sever-ity', 'labels is'],
    ['$labels.instance', '$labels.region', 'which no answer'], ['is down', 'is {{ down', 'does not end'],
    ['  - alert: Down', '  - record: a:b\n    alert: Down', 'one of alert'], ['alert: Down', 'record: a:b', 'neither'],
    ['groups:', 'group:', 'group'], ['name: a', 'nom: a', 'nom'], ['  rules:', '  rules: 7\n  limit:', 'rules is'],
    ['groups:', 'groups:\n- name: a', 'stands twice'], ['for: 5m', 'for: 5m\n    for: 6m', 'unique'],
  ]) {
    let said;
    try { rules(good.replace(was, is)); } catch (error) { said = error.message; }
    if (!said?.includes(why)) fail(`the check of rules took \`${is}\`: ${said}`);
  }
}

checkTheCheck();
checkTheRules();
const alerts = rules(file('alerts.yml'));

/** Each query of the dashboard, and a legend of labels that its answer has. */
let queries = 0;
const board = JSON.parse(file('godwit.json'));
for (const { title, targets = [] } of board.panels) {
  for (const { expr, legendFormat } of targets) {
    const labels = check(expr) ?? new Set();
    const named = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label);
    for (const label of named) if (!labels.has(label)) fail(`${title}: ${legendFormat} names ${label}, there is ${[...labels]}`);
    if (labels.size > 0 && named.length === 0) fail(`${title}: lines that look the same`);
    queries += 1;
  }
}
for (const { query } of board.templating.list.filter((one) => one.type === 'query')) {
  const [, series, label] = /^label_values\((.*), (\w+)\)$/.exec(query.query) ?? fail(`${query.query} is no query of a variable`);
  if (!check(series)?.has(label)) fail(`${query.query}: there is no ${label}`);
}
console.log(`${alerts.length} rules and ${queries} queries of the dashboard ask for what a node exposes`);
