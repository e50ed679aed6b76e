/** Says what has just been done, and offers to undo it. It stays while it has the focus or the pointer. */

const STAYS_MS = 20_000;

export class Toast {
  #box;
  #timer = null;
  #isHeld = false;
  #undo = () => {};
  #left;

  /** `left` is called when the toast goes that had the focus. */
  constructor(box, left) {
    this.#box = box;
    this.#left = left;
    const [undo, close] = box.querySelectorAll("button");
    undo.onclick = () => {
      const act = this.#undo;
      this.close();
      act();
    };
    close.onclick = () => this.close();
    for (const type of ["focusin", "pointerenter"]) box.addEventListener(type, () => this.#hold(true));
    for (const type of ["focusout", "pointerleave"]) box.addEventListener(type, () => this.#hold(false));
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
  }

  /** Without `undo`, it only says something. */
  show(text, undo) {
    const [button] = this.#box.querySelectorAll("button");
    this.#undo = undo ?? (() => {});
    button.hidden = !undo;
    this.#box.hidden = false;
    this.#box.querySelector("p").textContent = text; // the live region must be there before its text
    this.#wait();
  }

  focus() {
    this.#box.querySelector("button").focus();
  }

  close() {
    clearTimeout(this.#timer);
    const hadFocus = this.#box.contains(document.activeElement);
    this.#box.hidden = true;
    this.#box.querySelector("p").textContent = "";
    this.#isHeld = false;
    if (hadFocus) this.#left();
  }

  #hold(isHeld) {
    this.#isHeld = isHeld;
    this.#wait();
  }

  #wait() {
    clearTimeout(this.#timer);
    if (!this.#isHeld) this.#timer = setTimeout(() => this.close(), STAYS_MS);
  }
}
