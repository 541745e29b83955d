// The Grafana dashboard of deploy/grafana, as a value of the types that Grafana publishes of its schema
// (@grafana/schema: dashboard, panels of type stat and timeseries). The compiler is the check: a field
// that is missing, of another type, outside of its words, or not in the schema is an error. Then dashboards
// that are wrong in one place each are made, and each of them has to be refused.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const web = join(dirname(fileURLToPath(import.meta.url)), '..');
const board = JSON.parse(readFileSync(join(web, '../../../deploy/grafana/godwit.json'), 'utf8'));
const folder = join(web, '.dashboard');

const types = `
import type { DataQuery, Dashboard, FieldConfigSource, GraphFieldConfig, Panel, RowPanel } from '@grafana/schema';
import type { Options as Stat } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { Options as TimeSeries } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/** The same in JSON, where an enumeration is one of its words. */
type Json<T> = T extends string ? \`\${T}\` : T extends readonly (infer U)[] ? Json<U>[] : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

/** Of the data source for Prometheus. */
type Query = Pick<DataQuery, 'refId' | 'hide' | 'datasource'> & { expr: string; legendFormat: string };
type Drawn<Type extends string, Options, Custom> = Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Type;
  options: Options;
  fieldConfig: Omit<FieldConfigSource, 'defaults'> & { defaults: Omit<FieldConfigSource['defaults'], 'custom'> & { custom?: Custom } };
  targets: Query[];
};
type Row = Omit<RowPanel, 'type'> & { type: 'row' };
export type Board = Json<Omit<Dashboard, 'panels'> & { panels: (Drawn<'stat', Stat, never> | Drawn<'timeseries', TimeSeries, Partial<GraphFieldConfig>> | Row)[] }>;
`;

const drawn = (type) => board.panels.findIndex((panel) => panel.type === type);
const [row, stat, lines] = ['row', 'stat', 'timeseries'].map(drawn);

/** What is changed, and how. */
const wrong = {
  'no version of the schema': (one) => delete one.schemaVersion,
  'a field that is not there': (one) => (one.titel = one.title),
  'no such look of the cursor': (one) => (one.graphTooltip = 7),
  'a variable of no type': (one) => (one.templating.list[0].type = 'datasorce'),
  'a variable that is refreshed never that there is': (one) => (one.templating.list[1].refresh = 9),
  'a panel of no type': (one) => delete one.panels[stat].type,
  'a panel of another type': (one) => (one.panels[lines].type = 'graph'),
  'a width in words': (one) => (one.panels[lines].gridPos.w = '8'),
  'no such colour': (one) => (one.panels[stat].options.colorMode = 'valu'),
  'an option of another panel': (one) => (one.panels[stat].options.legend = one.panels[lines].options.legend),
  'no such place of the legend': (one) => (one.panels[lines].options.legend.placement = 'left'),
  'no such order': (one) => (one.panels[lines].options.tooltip.sort = 'down'),
  'a unit that is a number': (one) => (one.panels[lines].fieldConfig.defaults.unit = 7),
  'no overrides': (one) => delete one.panels[lines].fieldConfig.overrides,
  'a query without a name': (one) => delete one.panels[lines].targets[0].refId,
  'a query in another field': (one) => (one.panels[lines].targets[0].query = 'up'),
  'a row with queries': (one) => (one.panels[row].targets = []),
  'a row that is not open or closed': (one) => delete one.panels[row].collapsed,
};

const values = Object.entries(wrong).map(([what, change], at) => {
  const one = structuredClone(board);
  change(one);
  return `// @ts-expect-error ${what}\nexport const wrong${at}: Board = ${JSON.stringify(one)};\n`;
});
// One that is whole, in the same form: an error of all of the above would be none of theirs.
const whole = `export const whole: Board = ${JSON.stringify(board)};\n`;

const config = {
  compilerOptions: { target: 'ES2023', module: 'ESNext', moduleResolution: 'Bundler', strict: true, noEmit: true, skipLibCheck: true, types: [] },
  files: ['board.ts'],
};
try {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'board.ts'), `${types}${whole}${values.join('')}`);
  execFileSync(join(web, 'node_modules/.bin/tsc'), ['-p', folder, '--pretty', 'false'], { stdio: ['ignore', 'inherit', 'inherit'] });
  console.log(`deploy/grafana/godwit.json is of Grafana's schema; ${values.length} that are not were refused`);
} catch (error) {
  console.error('deploy/grafana/godwit.json is not of the schema that Grafana publishes, or the check misses something');
  process.exitCode = error.status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
