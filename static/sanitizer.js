/**
 * The only place where a string is parsed as HTML: the highlighter's output, and character references. A model's text
 * never is: `markdown.js` creates its elements one by one.
 */
import DOMPurify from "./vendor/purify.es.mjs";

const NOTHING_BUT_SPANS = { ALLOWED_TAGS: ["#text", "span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };
const NOTHING_BUT_TEXT = { ALLOWED_TAGS: ["#text"], ALLOWED_ATTR: [], RETURN_DOM_FRAGMENT: true };
const REFERENCE = /&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[a-zA-Z]\w{1,31});/g;

const known = new Map();

/** Keep only text and spans with classes. */
export function spans(markup) {
  return DOMPurify.sanitize(markup, NOTHING_BUT_SPANS);
}

/** Decode character references such as `&copy;`. */
export function withCharacters(text) {
  return text.includes("&") ? text.replace(REFERENCE, character) : text;
}

function character(reference) {
  if (!known.has(reference)) known.set(reference, DOMPurify.sanitize(reference, NOTHING_BUT_TEXT).textContent);
  return known.get(reference);
}
