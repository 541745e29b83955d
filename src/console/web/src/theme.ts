// Light or dark: what the system says, unless somebody chose.
import { computed, effect, signal } from '@preact/signals';

const system = matchMedia('(prefers-color-scheme: dark)');
const systemDark = signal(system.matches);
system.addEventListener('change', () => (systemDark.value = system.matches));
const chosen = signal(localStorage.getItem('theme'));
const dark = computed(() => (chosen.value ? chosen.value === 'dark' : systemDark.value));

effect(() => {
  document.documentElement.dataset['theme'] = dark.value ? 'dark' : 'light';
});

export const theme = {
  dark,
  turn() {
    chosen.value = dark.value ? 'light' : 'dark';
    localStorage.setItem('theme', chosen.value);
  },
};
