// The regions of `godwit dev`: cut off, stopped, and back again.
import { play, refresh, wires } from '../cluster';
import { ago, moment } from '../format';
import { attempt, Button } from '../ui';

/** What a region that does not run is doing, in words. */
export function Down({ code }: { code: string }) {
  const down = wires.value?.down.find((one) => one.region === code);
  if (!down) return null;
  return (
    <span class="down">
      <span class="chip bad">{down.state}</span> <time title={moment(down.since_ms)}>{ago(down.since_ms)}</time>
      {down.why && <small> {down.why}</small>}
    </span>
  );
}

/** Buttons for one region; none where the regions are real. */
export function Play({ code }: { code: string }) {
  const all = wires.value;
  if (!all?.dev) return null;
  const down = all.down.find((one) => one.region === code);
  const cut = all.cut.includes(code);
  const turn = async (what: 'cut' | 'join' | 'stop' | 'start', said: string) => {
    await attempt(play(code, what), said);
    void refresh();
  };
  return (
    <>
      {all.emulated && !down && (cut
        ? <Button look="quiet" onClick={() => turn('join', `${code} is joined again.`)}>{`Join ${code} again`}</Button>
        : <Button look="quiet" onClick={() => turn('cut', `${code} is cut off.`)}>{`Cut ${code} off`}</Button>)}
      {!down && <Button look="quiet" icon="pause" onClick={() => turn('stop', `${code} stops.`)}>{`Stop ${code}`}</Button>}
      {down && <Button look="quiet" icon="play" disabled={down.state !== 'stopped'} onClick={() => turn('start', `${code} starts.`)}>{`Start ${code}`}</Button>}
    </>
  );
}
