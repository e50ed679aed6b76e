/** The list of conversations, and of those that were deleted. */
import { heads } from "./conversations.js";
import { element, reconcile } from "./elements.js";

export class List {
  #box;
  #current = "";

  /** Calls `open(id)`, `discard(id, title)` and `restore(id)` when the reader asks for it. */
  constructor(box, calls) {
    this.#box = box;
    box.addEventListener("click", ({ target }) => {
      const { act, id, title } = target.closest("button")?.dataset ?? {};
      if (act) calls[act](id, title);
    });
  }

  /** Show what is stored, with the open one marked. */
  draw(current = this.#current) {
    this.#current = current;
    const all = heads();
    const kept = all.filter(({ deleted }) => !deleted);
    const gone = all.filter(({ deleted }) => deleted);
    const [list, deleted] = this.#box.querySelectorAll("ul");
    reconcile(list, kept.map((head) => row(head, head.id === current)));
    reconcile(deleted, gone.map(goneRow));
    this.#box.querySelector(".none").hidden = kept.length > 0;
    this.#box.querySelector("details").hidden = !gone.length;
    this.#box.querySelector("summary").textContent = `Deleted (${gone.length})`;
  }
}

function row({ id, title }, isCurrent) {
  return element("li", { class: isCurrent ? "current" : undefined }, [
    button("open", id, { "aria-current": isCurrent ? "true" : undefined }, title),
    button("discard", id, { "aria-label": `Delete ${title}`, "data-title": title }, "✕"),
  ]);
}

function goneRow({ id, title }) {
  return element("li", {}, [
    element("span", {}, [title]),
    button("restore", id, { "aria-label": `Restore ${title}` }, "Restore"),
  ]);
}

function button(act, id, attributes, text) {
  return element("button", { type: "button", class: act, "data-act": act, "data-id": id, ...attributes }, [text]);
}
