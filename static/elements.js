/** What should be on the page, as plain objects, and the fewest changes that bring it there. */

/** `attributes` with an undefined value are absent. `children` are wishes and strings. */
export function element(name, attributes = {}, children = []) {
  return { name, attributes, children };
}

/** Something that draws itself: `kind.create()` makes it, and `show(...state)` is called whenever it is wished for. */
export function part(kind, ...state) {
  return { kind, state };
}

const parts = new WeakMap();

/** Bring the nodes of `parent` from `first` on to what is wished for. What is right already is not touched: a growing
 * answer keeps the reader's selection and focus, and costs what has changed. */
export function bring(parent, wishes, first = parent.firstChild) {
  let node = first;
  for (const wish of wishes) {
    if (!node || !fits(node, wish)) {
      const fresh = made(wish);
      if (node) node.replaceWith(fresh);
      else parent.append(fresh);
      node = fresh;
    }
    update(node, wish);
    node = node.nextSibling;
  }
  while (node) {
    const next = node.nextSibling;
    node.remove();
    node = next;
  }
}

function fits(node, wish) {
  if (typeof wish === "string") return node.nodeType === Node.TEXT_NODE;
  if (wish.kind) return parts.get(node) instanceof wish.kind;
  return node.localName === wish.name && !parts.has(node);
}

function made(wish) {
  if (typeof wish === "string") return document.createTextNode(wish);
  if (!wish.kind) return document.createElement(wish.name);
  const fresh = new wish.kind();
  parts.set(fresh.element, fresh);
  return fresh.element;
}

function update(node, wish) {
  if (typeof wish === "string") {
    if (node.data !== wish) write(node, wish);
  } else if (wish.kind) {
    parts.get(node).show(...wish.state);
  } else {
    setAttributes(node, wish.attributes);
    bring(node, wish.children);
  }
}

function setAttributes(node, attributes) {
  for (const name of node.getAttributeNames()) if (attributes[name] === undefined) node.removeAttribute(name);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
}

/** Setting `data` whole would lose a selection in it. */
function write(node, text) {
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}
