/** A minimal virtual DOM: descriptions of nodes as plain objects, and the fewest changes that realize them. */

/** Attributes with an undefined value are absent. `children` are descriptions and strings. */
export function element(name, attributes = {}, children = []) {
  return { name, attributes, children };
}

/** A component: `new kind()` makes it, and `show(...state)` is called on each update. */
export function part(kind, ...state) {
  return { kind, state };
}

const parts = new WeakMap();

/** Update the nodes of `parent`, from `first` on, to the descriptions. Nodes that match are not touched, so a growing
 * answer keeps the reader's selection and focus, and an update costs only what has changed. */
export function reconcile(parent, wanted, first = parent.firstChild) {
  let node = first;
  for (const item of wanted) {
    if (!node || !fits(node, item)) {
      const fresh = create(item);
      if (node) node.replaceWith(fresh);
      else parent.append(fresh);
      node = fresh;
    }
    update(node, item);
    node = node.nextSibling;
  }
  while (node) {
    const next = node.nextSibling;
    node.remove();
    node = next;
  }
}

function fits(node, item) {
  if (typeof item === "string") return node.nodeType === Node.TEXT_NODE;
  if (item.kind) return parts.get(node) instanceof item.kind;
  return node.localName === item.name && !parts.has(node);
}

function create(item) {
  if (typeof item === "string") return document.createTextNode(item);
  if (!item.kind) return document.createElement(item.name);
  const fresh = new item.kind();
  parts.set(fresh.element, fresh);
  return fresh.element;
}

function update(node, item) {
  if (typeof item === "string") {
    if (node.data !== item) write(node, item);
  } else if (item.kind) {
    parts.get(node).show(...item.state);
  } else {
    setAttributes(node, item.attributes);
    reconcile(node, item.children);
  }
}

function setAttributes(node, attributes) {
  for (const name of node.getAttributeNames()) if (attributes[name] === undefined) node.removeAttribute(name);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
}

/** Append if possible, because replacing `data` would clear a selection in it. */
function write(node, text) {
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}
