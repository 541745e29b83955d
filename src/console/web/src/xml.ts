// S3's documents, to and fro.

export type Tree = { readonly [name: string]: Node | readonly Node[] | undefined };
export type Node = string | number | boolean | Tree;

function escape(text: string): string {
  const marks: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\r': '&#13;' };
  return text.replace(/[&<>"\r]/g, (mark) => marks[mark] ?? mark);
}

/** A document: objects are elements, lists are elements that repeat. A name with `@` is an attribute. */
export function build(root: string, content: Node): string {
  return `<?xml version="1.0" encoding="UTF-8"?>${element(root, content)}`;
}

function element(name: string, content: Node): string {
  if (typeof content !== 'object') return `<${name}>${escape(String(content))}</${name}>`;
  let attributes = '';
  let inner = '';
  for (const [key, value] of Object.entries(content)) {
    if (value === undefined) continue;
    if (key.startsWith('@')) attributes += ` ${key.slice(1)}="${escape(String(value))}"`;
    else if (Array.isArray(value)) inner += value.map((one) => element(key, one as Node)).join('');
    else inner += element(key, value as Node);
  }
  return `<${name}${attributes}>${inner}</${name}>`;
}

export function parse(text: string): Element {
  return new DOMParser().parseFromString(text, 'application/xml').documentElement;
}

/** The children of this name. */
export function all(parent: Element | null, name: string): Element[] {
  return parent ? [...parent.children].filter((child) => child.localName === name) : [];
}

/** The first child at a path of names: `Owner/ID`. */
export function find(parent: Element | null, path: string): Element | null {
  let at = parent;
  for (const name of path.split('/')) at = all(at, name)[0] ?? null;
  return at;
}

export function text(parent: Element | null, path: string): string {
  return find(parent, path)?.textContent ?? '';
}

/** Indented, for people. */
export function pretty(root: Element, depth = 0): string {
  const pad = '  '.repeat(depth);
  const own = [...root.attributes].filter((a) => !a.name.startsWith('xmlns'));
  const attributes = own.map((a) => ` ${a.name}="${escape(a.value)}"`).join('');
  const name = root.localName;
  if (root.children.length === 0) {
    return `${pad}<${name}${attributes}>${escape(root.textContent ?? '')}</${name}>`;
  }
  const inner = [...root.children].map((child) => pretty(child, depth + 1)).join('\n');
  return `${pad}<${name}${attributes}>\n${inner}\n${pad}</${name}>`;
}
