/**
 * The only place where a string becomes markup. What a model says is never parsed as HTML: `markdown.js` builds its
 * elements one by one. Left over are what the highlighter returns, and character references.
 */
import DOMPurify from "./vendor/purify.es.mjs";

const NOTHING_BUT_SPANS = { ALLOWED_TAGS: ["#text", "span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };
const NOTHING_BUT_TEXT = { ALLOWED_TAGS: ["#text"], ALLOWED_ATTR: [], RETURN_DOM_FRAGMENT: true };
const REFERENCE = /&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[a-zA-Z]\w{1,31});/g;

const known = new Map();

/** Spans with classes, and text; whatever else was in the markup is gone. */
export function spans(markup) {
  return DOMPurify.sanitize(markup, NOTHING_BUT_SPANS);
}

/** The text with `&copy;` and its like as the characters that they stand for. */
export function withCharacters(text) {
  return text.includes("&") ? text.replace(REFERENCE, character) : text;
}

function character(reference) {
  if (!known.has(reference)) known.set(reference, DOMPurify.sanitize(reference, NOTHING_BUT_TEXT).textContent);
  return known.get(reference);
}
