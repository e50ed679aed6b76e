/** What keys do. */

/** Whether Enter should send. Not with Shift, which makes a new line, nor while an input method composes. */
export function isEnter(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.localName === "textarea";
}

/** Whether something open takes Escape for itself. */
export function isTaken() {
  return document.querySelector(":popover-open, dialog[open]") !== null;
}
