/** JSON as a reader can read it. */
import { element } from "./elements.js";

/** A text as it is, everything else as indented JSON. */
export function asText(value) {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}

/** A box with the value, which may be wider than the page. */
export function jsonBox(label, value) {
  const attributes = { class: "json", tabindex: 0, role: "region", "aria-label": label };
  return element("pre", attributes, [asText(value)]);
}
