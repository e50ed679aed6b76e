/** Keeps the end of a growing page in view until the reader scrolls away or selects text. */

const NEAR_PX = 24;

export class Scroll {
  #box;
  #button;
  #follows = true;
  #top = 0;

  constructor(box, button) {
    this.#box = box;
    this.#button = button;
    box.addEventListener("scroll", () => this.#moved(), { passive: true });
    // before the page has scrolled, or the next frame would pull it back
    box.addEventListener("wheel", ({ deltaY }) => deltaY < 0 && this.#yield(), { passive: true });
    box.addEventListener("touchmove", () => this.#yield(), { passive: true });
    document.addEventListener("selectionchange", () => isSelecting(box) && this.#yield());
    button.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.grown()).observe(box);
  }

  /** Call this when the page has changed. */
  grown() {
    if (this.#follows) this.#box.scrollTop = this.#box.scrollHeight;
    this.#top = this.#box.scrollTop;
    this.#button.hidden = this.#follows || this.#isNearEnd();
  }

  toEnd() {
    this.#follows = true;
    this.grown();
  }

  #moved() {
    const up = this.#box.scrollTop < this.#top - 1;
    if (this.#isNearEnd()) this.#follows = !isSelecting(this.#box);
    else if (up) this.#follows = false;
    this.#top = this.#box.scrollTop;
    this.#button.hidden = this.#follows || this.#isNearEnd();
  }

  #yield() {
    if (this.#box.scrollHeight > this.#box.clientHeight) this.#follows = false;
  }

  #isNearEnd() {
    return this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < NEAR_PX;
  }
}

function isSelecting(box) {
  const selection = getSelection();
  return !selection.isCollapsed && box.contains(selection.anchorNode);
}
