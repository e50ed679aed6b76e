/** A code block: its language, a copy button, and syntax highlighting, which is delayed and throttled. */
import { spans } from "./sanitizer.js";

const PAUSE_MS = 200;
const BUSY_PAUSE_MS = 1000;
const REST = 8; // highlighting takes at most 1/REST of the time
const PIECE = 4000; // characters that are highlighted at once; highlighted pieces are not redone

export class Code {
  #text = "";
  #language = "";
  #timer = null;
  #cost = 0;
  #settled = 0; // characters in finished pieces
  #last = null; // the last node of the finished pieces

  constructor() {
    this.element = document.getElementById("code").content.firstElementChild.cloneNode(true);
    this.code = this.element.querySelector("code");
    this.element.querySelector("button").addEventListener("click", ({ target }) => copy(this.#text, target));
  }

  show(text, language) {
    if (text === this.#text && language === this.#language) return;
    if (text.startsWith(this.#text) && language === this.#language) this.code.append(text.slice(this.#text.length));
    else this.#restart(text, language);
    this.#text = text;
    if (language) this.#colourIn(Math.max(PAUSE_MS, this.#cost * REST));
  }

  #restart(text, language) {
    this.code.textContent = text;
    this.element.querySelector("figcaption span").textContent = language;
    this.#language = language;
    this.#settled = 0;
    this.#last = null;
  }

  #colourIn(ms) {
    this.#timer ??= setTimeout(() => this.#colour(), ms);
  }

  async #colour() {
    const { default: highlighter } = await import("./vendor/highlight.min.js");
    await new Promise((resolve) => setTimeout(resolve)); // the first import is slow; let the page draw
    this.#timer = null;
    if (!highlighter.getLanguage(this.#language)) return;
    if (isSelected(this.code)) {
      this.#colourIn(BUSY_PAUSE_MS); // new nodes would clear the selection
      return;
    }
    const began = performance.now();
    const open = this.#text.slice(this.#settled);
    const piece = open.slice(0, endOfPiece(open));
    const { value } = highlighter.highlight(piece, { language: this.#language, ignoreIllegals: true });
    this.#replace(spans(value), open.slice(piece.length));
    if (piece !== open) this.#settle(piece.length);
    this.#cost = performance.now() - began;
  }

  #replace(coloured, rest) {
    const range = document.createRange();
    range.selectNodeContents(this.code);
    if (this.#last) range.setStartAfter(this.#last);
    range.deleteContents();
    coloured.append(rest);
    this.code.append(coloured);
  }

  #settle(length) {
    this.#settled += length;
    this.#last = this.code.lastChild.previousSibling; // the last child is the rest, as plain text
    this.#colourIn(0);
  }
}

/** Prefer a blank line, then a line end: highlighting restarts there. */
function endOfPiece(text) {
  if (text.length <= PIECE) return text.length;
  return [text.lastIndexOf("\n\n", PIECE), text.lastIndexOf("\n", PIECE), PIECE].find((end) => end > 0);
}

function isSelected(node) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(node, true);
}

/** Copy, and confirm it on the button. */
export async function copy(text, button) {
  const label = button.textContent;
  if (button.dataset.copied) return;
  const copied = await put(text);
  button.dataset.copied = copied;
  button.textContent = copied ? "Copied" : "Not allowed";
  setTimeout(() => {
    button.textContent = label;
    delete button.dataset.copied;
  }, 1500);
}

async function put(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return putByHand(text); // without https there is no clipboard object
  }
}

function putByHand(text) {
  const field = document.createElement("textarea");
  const focused = document.activeElement;
  field.value = text;
  field.className = "hidden";
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied;
}
