// A query, parsed by Prometheus' own grammar (@prometheus-io/lezer-promql) and compared with what a node
// exposes, as docs/metrics.md lists it: each metric is there, each label is one of what it is asked of,
// growth is asked of what grows, and the two sides of an operator have labels that meet.
import { readFileSync } from 'node:fs';
import { parser } from '@prometheus-io/lezer-promql';

/** Labels that every series has from its scrape. */
const SCRAPED = ['instance', 'job'];

const page = readFileSync(new URL('../../../../docs/metrics.md', import.meta.url), 'utf8');
const metrics = new Map();
for (const [, name, kind, labels] of page.matchAll(/^\| `(godwit_\w+)` \| (\w+) \| [^|]* \| ([^|]*) \|/gm)) {
  metrics.set(name, { kind, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label) });
}
if (metrics.size < 50) throw new Error('docs/metrics.md has no list of metrics that this can read');

/** Whether a metric only grows, and the labels of its series. */
function series(name) {
  // Written by Prometheus for each target.
  if (name === 'up') return { grows: false, labels: new Set(SCRAPED) };
  const part = /^(.*)_(bucket|sum|count)$/.exec(name);
  const metric = metrics.get(name);
  if (metric && metric.kind !== 'histogram') return { grows: metric.kind === 'counter', labels: new Set([...SCRAPED, ...metric.labels]) };
  const histogram = part && metrics.get(part[1]);
  if (histogram?.kind !== 'histogram') throw new Error(`no node exposes ${name}`);
  return { grows: true, labels: new Set([...SCRAPED, ...histogram.labels, ...(part[2] === 'bucket' ? ['le'] : [])]) };
}

const same = (a, b) => a.size === b.size && [...a].every((one) => b.has(one));
const among = (label, labels, what) => {
  if (!labels.has(label)) throw new Error(`${what} has no label ${label}`);
};

/** Parses a query and compares it: the labels of its series, or nothing where it is a number. */
export function check(query) {
  const text = query.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.+');
  if (text.includes('$')) throw new Error(`a variable that nobody fills in: ${query}`);
  const said = (node) => text.slice(node.from, node.to);
  const children = (node) => {
    const all = [];
    for (let one = node.firstChild; one; one = one.nextSibling) all.push(one);
    return all;
  };
  const names = (node) => children(node).filter((one) => one.name === 'LabelName').map(said);
  const inside = (node) => children(node.getChild('FunctionCallBody') ?? node);

  const selected = (node, mustGrow) => {
    const name = node.getChild('Identifier');
    if (!name) throw new Error('series without a metric');
    const { grows, labels } = series(said(name));
    if (mustGrow && !grows) throw new Error(`${said(name)} does not only grow: it has no rate`);
    for (const matcher of node.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? []) among(said(matcher.getChild('LabelName')), labels, said(name));
    return labels;
  };
  const number = (node, what) => {
    if (found(node)) throw new Error(`${what} needs a number`);
  };

  const aggregated = (node) => {
    const op = said(node.getChild('AggregateOp'));
    const args = inside(node);
    args.slice(0, -1).forEach((one) => number(one, op));
    const inner = found(args.at(-1));
    if (!inner) throw new Error(`${op} of a number`);
    const modifier = node.getChild('AggregateModifier');
    const named = modifier ? names(modifier.getChild('GroupingLabels')) : [];
    named.forEach((label) => among(label, inner, op));
    // These give some of the series as they are.
    if (op === 'topk' || op === 'bottomk') return inner;
    return new Set(modifier?.getChild('Without') ? [...inner].filter((label) => !named.includes(label)) : named);
  };

  const called = (node) => {
    const name = said(node.getChild('FunctionIdentifier'));
    const args = inside(node);
    switch (`${name}/${args.length}`) {
      case 'rate/1': case 'increase/1': case 'irate/1':
        if (args[0].name !== 'MatrixSelector') throw new Error(`${name} needs a range`);
        return selected(args[0].getChild('VectorSelector'), true);
      case 'time/0':
        return undefined;
      case 'timestamp/1':
        return found(args[0]);
      case 'clamp_min/2': case 'clamp_max/2':
        number(args[1], name);
        return found(args[0]);
      case 'histogram_quantile/2': {
        number(args[0], name);
        const labels = new Set(found(args[1]));
        if (!labels.delete('le')) throw new Error('a quantile of what has no buckets');
        return labels;
      }
      default:
        throw new Error(`${name} with ${args.length} arguments: the check does not know it; teach it`);
    }
  };

  const combined = (node) => {
    const all = children(node);
    const [left, right] = [found(all[0]), found(all.at(-1))];
    if (!left || !right) return left ?? right;
    const op = all[1].name;
    const modifier = node.getChild('MatchingModifierClause');
    const groups = modifier?.getChildren('GroupingLabels') ?? [];
    const matching = modifier?.getChild('On') ?? modifier?.getChild('Ignoring');
    const named = matching ? names(groups[0]) : [];
    named.forEach((label) => { among(label, left, 'the left side'); among(label, right, 'the right side'); });
    const met = (labels) => {
      if (!matching) return labels;
      return new Set(matching.name === 'On' ? named : [...labels].filter((label) => !named.includes(label)));
    };
    if (!same(met(left), met(right))) throw new Error(`the sides of ${op} never meet: by ${[...met(left)]} and by ${[...met(right)]}`);
    if (op === 'Or') return new Set([...left].filter((label) => right.has(label)));
    if (op === 'And' || op === 'Unless') return left;
    const more = modifier?.getChild('GroupLeft') ? left : modifier?.getChild('GroupRight') ? right : undefined;
    if (more) return new Set([...more, ...(groups[1] ? names(groups[1]) : [])]);
    // A comparison without `bool` filters; everything else keeps what was matched.
    return ['Eql', 'Neq', 'Gtr', 'Lss', 'Gte', 'Lte'].includes(op) && !node.getChild('BoolModifier') ? left : met(left);
  };

  const found = (node) => {
    switch (node.name) {
      case 'NumberDurationLiteral': return undefined;
      case 'ParenExpr': return found(node.firstChild);
      case 'UnaryExpr': return found(node.lastChild);
      case 'VectorSelector': return selected(node, false);
      case 'AggregateExpr': return aggregated(node);
      case 'BinaryExpr': return combined(node);
      case 'FunctionCall': return called(node);
      default: throw new Error(`\`${said(node)}\` is neither a number nor series (${node.name})`);
    }
  };

  try {
    const tree = parser.parse(text);
    tree.iterate({ enter: (node) => { if (node.type.isError) throw new Error(`no PromQL at ${node.from}`); } });
    return found(tree.topNode.firstChild ?? tree.topNode);
  } catch (error) {
    throw new Error(`${error.message}: ${query}`);
  }
}

/** What is no query, or asks for what is not there, has to be refused, and the labels of an answer be known. */
export function checkTheCheck() {
  for (const [query, why] of [
    ['sum(rate(godwit_s3_request[5m]))', 'no node exposes godwit_s3_request'],
    ['godwit_s3_request_duration_seconds', 'no node exposes'],
    ['rate(godwit_ready[5m])', 'does not only grow'],
    ['rate(godwit_s3_requests_total)', 'needs a range'],
    ['sum by (region) (rate(godwit_s3_requests_total[5m]))', 'has no label region'],
    ['godwit_ready{region="fra"}', 'has no label region'],
    ['sum(godwit_ready))', 'no PromQL'],
    ['summ(godwit_ready)', ''],
    ['godwit_ready == ', 'no PromQL'],
    ['godwit_ready{instance=~"$node"}', 'nobody fills in'],
    ['godwit_ready / godwit_s3_requests_total', 'never meet'],
    ['histogram_quantile(0.5, sum by (op) (rate(godwit_s3_first_byte_seconds_bucket[5m])))', 'no buckets'],
  ]) {
    let said;
    try { check(query); } catch (error) { said = error.message; }
    if (!said?.includes(why)) throw new Error(`the check of queries took ${query}: ${said}`);
  }
  for (const [query, labels] of [
    ['time()', undefined],
    ['sum(godwit_ready)', ''],
    ['godwit_ready == 0', 'instance job'],
    ['sum by (op) (rate(godwit_s3_requests_total[5m])) > 1', 'op'],
    ['sum without (op, job) (godwit_s3_requests_total)', 'instance status'],
    ['topk(3, -godwit_mesh_rtt_seconds)', 'instance job region'],
    ['time() - godwit_start_timestamp_seconds > 5', 'instance job'],
    ['histogram_quantile(0.9, sum by (le, op) (rate(godwit_s3_first_byte_seconds_bucket[5m])))', 'op'],
    ['godwit_mesh_rtt_seconds * on (instance, job) group_left () godwit_ready', 'instance job region'],
  ]) {
    const found = check(query);
    const text = found && [...found].sort().join(' ');
    if (text !== labels) throw new Error(`the check of queries says of ${query}: ${text}`);
  }
}
