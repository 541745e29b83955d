import './style.css';
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { place, resume, session, signOut, whoami } from './api';
import { status } from './cluster';
import { Buckets } from './pages/buckets';
import { Keys } from './pages/keys';
import { WorldPage } from './pages/map';
import { Nodes } from './pages/nodes';
import { Objects } from './pages/objects';
import { SignIn } from './pages/signin';
import { href, route } from './router';
import { Button, Icon, type IconName, Notes } from './ui';
import { theme } from './theme';

const PAGES: Record<string, { title: string; nav: string; view: () => preact.JSX.Element }> = {
  buckets: { title: 'Buckets', nav: 'buckets', view: Buckets },
  objects: { title: 'Objects', nav: 'buckets', view: Objects },
  map: { title: 'Map', nav: 'map', view: WorldPage },
  keys: { title: 'Access keys', nav: 'keys', view: Keys },
  cluster: { title: 'Cluster', nav: 'cluster', view: Nodes },
};

const NAV: readonly { page: string; label: string; icon: IconName; admin: boolean }[] = [
  { page: 'buckets', label: 'Buckets', icon: 'bucket', admin: false },
  { page: 'map', label: 'Map', icon: 'map', admin: true },
  { page: 'keys', label: 'Keys', icon: 'key', admin: true },
  { page: 'cluster', label: 'Cluster', icon: 'cluster', admin: true },
];

function App() {
  useEffect(() => void resume(), []);
  if (session.value === undefined) return <p class="loading" role="status">Loading …</p>;
  if (session.value === null) return <><SignIn /><Notes /></>;
  return <Shell />;
}

function Shell() {
  const page = PAGES[route.value.page] ?? PAGES['buckets']!;
  useEffect(() => {
    document.title = `${route.value.bucket || page.title} – godwit`;
  }, [page, route.value.bucket]);
  const View = page.view;
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById('main')?.focus(); }}>To the content</a>
      <header class="rail">
        <a class="brand" href={href('buckets')}><img src="./icon.svg" alt="" width="28" height="28" />godwit</a>
        <nav aria-label="Pages">
          {NAV.filter((item) => !item.admin || whoami.value?.admin).map((item) => (
            <a key={item.page} href={href(item.page)} aria-current={page.nav === item.page ? 'page' : undefined}>
              <Icon name={item.icon} /><span>{item.label}</span>
            </a>
          ))}
        </nav>
        <div class="who">
          <Places />
          <div class="key">
            <span title={session.value!.access_key}>{session.value!.access_key}</span>
            <small>{whoami.value?.admin ? 'admin key' : 'key with a scope'}</small>
          </div>
          <Button look="quiet" icon={theme.dark.value ? 'sun' : 'moon'} onClick={theme.turn}
            aria-label={theme.dark.value ? 'Light colours' : 'Dark colours'} />
          <Button look="quiet" icon="out" onClick={signOut} aria-label="Sign out" />
        </div>
      </header>
      <main id="main" tabIndex={-1}><View /></main>
      <Notes />
    </div>
  );
}

/** Which region to ask, where one endpoint stands for several. */
function Places() {
  const regions = status.value?.regions ?? [];
  if (regions.length < 2) return null;
  return (
    <label class="place">
      <span>Ask from</span>
      <select aria-label="Ask from" value={place.value} onChange={(event) => (place.value = event.currentTarget.value)}>
        <option value="">nearest</option>
        {regions.map((region) => <option key={region.code} value={region.code}>{region.code} · {region.city}</option>)}
      </select>
    </label>
  );
}

render(<App />, document.getElementById('app')!);
