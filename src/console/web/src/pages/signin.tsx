import { useState } from 'preact/hooks';
import { reason, signIn } from '../api';
import { Button, Field, Problem } from '../ui';
import { Backdrop } from '../worldmap';

export function SignIn() {
  const [key, setKey] = useState('');
  const [secret, setSecret] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError('');
    try {
      await signIn(key, secret);
    } catch (why) {
      setError(reason(why));
      setSecret('');
    }
    setBusy(false);
  };
  return (
    <main class="signin">
      <Backdrop />
      <form class="card" onSubmit={submit}>
        <img src="./icon.svg" alt="" width="48" height="48" />
        <h1>godwit</h1>
        <p class="lead">Objects that live where they are read.</p>
        <Field label="Access key">
          <input name="username" autocomplete="username" autocapitalize="none" spellcheck={false} required
            value={key} onInput={(event) => setKey(event.currentTarget.value)} />
        </Field>
        <Field label="Secret key">
          <input name="password" type="password" autocomplete="current-password" required
            value={secret} onInput={(event) => setSecret(event.currentTarget.value)} />
        </Field>
        <Problem text={error} />
        <Button type="submit" look="primary" busy={busy}>Sign in</Button>
        <p class="hint">
          <code>godwit dev</code> prints a key when it starts. The secret stays in the node's memory while you are
          signed in; the browser does not keep it.
        </p>
      </form>
    </main>
  );
}
