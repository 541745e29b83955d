import { useRef } from 'preact/hooks';
import { bytes, duration, plural } from '../format';
import { clear, type Upload, uploads } from '../upload';
import { Button } from '../ui';

const WORDS: Record<Upload['state'], string> = {
  waiting: 'waiting', running: 'on its way', paused: 'paused', done: 'done', failed: 'failed', cancelled: 'cancelled',
};

/** The uploads of this page: a panel that stays while one looks at other folders. */
export function Uploads() {
  const all = uploads.value;
  const speed = useSpeed(all.reduce((sum, one) => sum + one.sent, 0));
  if (!all.length) return null;
  const counted = all.filter((one) => one.state !== 'cancelled');
  const size = counted.reduce((sum, one) => sum + one.file.size, 0);
  const sent = counted.reduce((sum, one) => sum + one.sent, 0);
  const active = all.some((one) => one.state === 'running' || one.state === 'waiting');
  const done = counted.filter((one) => one.state === 'done').length;
  return (
    <section class="uploads" aria-label="Uploads">
      <header>
        <h2>{plural(counted.length, 'upload')}</h2>
        <span class="sub" role="status">
          {active ? `${bytes(sent)} of ${bytes(size)} · ${bytes(speed)}/s · ${duration((size - sent) / speed)} left` : `${done} of ${counted.length} done`}
        </span>
        <Button look="quiet" onClick={clear}>Clear</Button>
      </header>
      <ul>
        {all.slice(-200).reverse().map((one) => (
          <li key={one.id} data-state={one.state}>
            <span class="file" title={`${one.bucket}/${one.key}`}>{one.key}</span>
            <span class="sub">{one.error || (one.state === 'running' ? `${bytes(one.sent)} of ${bytes(one.file.size)}` : `${bytes(one.file.size)}, ${WORDS[one.state]}`)}</span>
            <span class="buttons">
              {(one.state === 'running' || one.state === 'waiting') && <Button look="quiet" icon="pause" aria-label={`Pause ${one.key}`} onClick={() => one.pause()} />}
              {(one.state === 'paused' || one.state === 'failed') && <Button look="quiet" icon="play" aria-label={`Resume ${one.key}`} onClick={() => one.resume()} />}
              {!['done', 'cancelled'].includes(one.state) && <Button look="quiet" icon="close" aria-label={`Cancel ${one.key}`} onClick={() => one.cancel()} />}
            </span>
            <progress aria-label={`Progress of ${one.key}`} max={Math.max(1, one.file.size)} value={one.state === 'done' ? Math.max(1, one.file.size) : one.sent} />
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Bytes a second over the last few. */
function useSpeed(sent: number): number {
  const marks = useRef<[number, number][]>([]);
  const now = performance.now();
  const list = marks.current;
  if (!list.length || now - list.at(-1)![0] > 250) list.push([now, sent]);
  while (list.length > 20) list.shift();
  const [at, had] = list[0]!;
  return now > at ? Math.max(0, ((sent - had) / (now - at)) * 1000) : 0;
}
