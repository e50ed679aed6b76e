/**
 * Renders Markdown while it is being written.
 *
 * The parser only returns tokens. The elements are created here, by name, from a fixed set. So the text cannot produce
 * markup, an attribute other than a link's checked address, or anything that loads by itself. Finished blocks are left
 * alone: each update parses and compares only the last one.
 */
import { Lexer } from "./vendor/marked.esm.js";
import { Code } from "./code.js";
import { element, part, reconcile } from "./elements.js";
import { withCharacters } from "./sanitizer.js";
import { mended } from "./mend.js";

const OPTIONS = { gfm: true, breaks: true };
const LONG = 20_000; // characters
const SCHEMES = ["http:", "https:", "mailto:"];

export class Markdown {
  #element;
  #settled = ""; // the text of the finished blocks
  #last = null; // their last node
  #links = Object.create(null); // link definitions in them: [1]: https://…

  #hasDefinitions = false;
  length = 0; // of the shown text

  constructor(element) {
    this.#element = element;
  }

  /**
   * Show all of the text so far. If it is `complete`, it is parsed once more as a whole, because a link definition at
   * the end may change what came before. Long texts without link definitions are not parsed again.
   */
  show(text, complete = false) {
    this.length = text.length;
    text = text.replaceAll("\r\n", "\n").replaceAll("\r", "\n");
    const again = complete && (text.length < LONG || this.#hasDefinitions);
    if (again || !text.startsWith(this.#settled)) this.#restart();
    const rest = text.slice(this.#settled.length);
    const tokens = parse(complete ? rest : mended(rest), this.#links);
    this.#hasDefinitions ||= Object.keys(tokens.links ?? {}).length > 0;
    reconcile(this.#element, blocks(tokens), this.#next());
    if (!complete) this.#settle(tokens, rest);
  }

  #restart() {
    this.#settled = "";
    this.#last = null;
    this.#links = Object.create(null);
  }

  /** The node after the finished ones. */
  #next() {
    return this.#last ? this.#last.nextSibling : this.#element.firstChild;
  }

  /** Mark blocks as finished if a blank line and a line without indentation follow. */
  #settle(tokens, rest) {
    let end = tokens.findLastIndex(({ type }) => type !== "space");
    while (end > 0 && !isBoundary(tokens[end - 1], tokens[end])) end--;
    const ended = tokens.slice(0, Math.max(end, 0));
    const text = ended.map(({ raw }) => raw).join("");
    if (!rest.startsWith(text)) return;
    for (const token of ended) {
      if (token.type in BLOCKS) this.#last = this.#next();
      if (token.type === "def") this.#links[token.tag] ??= { href: token.href, title: token.title };
    }
    this.#settled += text;
  }
}

function isBoundary(before, after) {
  return (before.type === "space" || before.raw.endsWith("\n\n")) && !/^\s/.test(after.raw);
}

function parse(text, links) {
  try {
    const lexer = new Lexer(OPTIONS);
    Object.assign(lexer.tokens.links, links);
    return lexer.lex(text);
  } catch {
    return [{ type: "html", raw: text, text }]; // nested too deeply for the parser's stack
  }
}

const BLOCKS = {
  heading: ({ depth, tokens }) => element(`h${depth}`, { "aria-level": Math.min(depth + 2, 6) }, inline(tokens)),
  paragraph: ({ tokens }) => element("p", {}, inline(tokens)),
  text: ({ tokens, text }) => element("p", {}, tokens ? inline(tokens) : [withCharacters(text)]),
  code: ({ text, lang }) => part(Code, text, (lang ?? "").split(/\s/)[0].slice(0, 40)),
  blockquote: ({ tokens }) => element("blockquote", {}, blocks(tokens)),
  hr: () => element("hr"),
  html: ({ text }) => element("p", { class: "raw" }, [text.trimEnd()]),
  list: ({ ordered, start, items }) =>
    element(ordered ? "ol" : "ul", ordered ? { start: start === 1 ? undefined : start } : {}, items.map(item)),
  table: ({ header, rows }) =>
    element("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Table" }, [
      element("table", {}, [
        element("thead", {}, [element("tr", {}, header.map((cell) => tableCell("th", cell)))]),
        element("tbody", {}, rows.map((cells) => element("tr", {}, cells.map((cell) => tableCell("td", cell))))),
      ]),
    ]),
};

const INLINE = {
  strong: ({ tokens }) => element("strong", {}, inline(tokens)),
  em: ({ tokens }) => element("em", {}, inline(tokens)),
  del: ({ tokens }) => element("del", {}, inline(tokens)),
  codespan: ({ text }) => element("code", {}, [text]),
  br: () => element("br"),
  html: ({ text }) => (/^<br\s*\/?>$/i.test(text) ? element("br") : text),
  checkbox: ({ checked }) =>
    element("input", {
      type: "checkbox",
      disabled: "",
      checked: checked ? "" : undefined,
      "aria-label": checked ? "done" : "to do",
    }),
  link: ({ raw, href, tokens, autolink }) => anchor(autolink ? href : withCharacters(href), inline(tokens)) ?? raw,
  image: ({ raw, href, text }) =>
    anchor(withCharacters(href), [`Image: ${withCharacters(text) || href}`], "image") ?? raw,
  escape: ({ text }) => text,
  text: ({ text, escaped }) => (escaped === false ? withCharacters(text) : text),
};

function blocks(tokens) {
  return tokens.filter(({ type }) => type in BLOCKS).map((token) => BLOCKS[token.type](token));
}

function inline(tokens) {
  return joined(tokens.map((token) => (token.type in INLINE ? INLINE[token.type](token) : token.raw)));
}

/** Merge adjacent strings. */
function joined(items) {
  const all = [];
  for (const item of items) {
    if (typeof item === "string" && typeof all.at(-1) === "string") all.push(all.pop() + item);
    else all.push(item);
  }
  return all;
}

function item({ task, loose, tokens }) {
  const children = tokens.flatMap((token) => {
    const isText = token.type === "text" || token.type === "checkbox";
    if (isText && !loose) return token.tokens ? inline(token.tokens) : inline([token]);
    return blocks([token]);
  });
  return element("li", { class: task ? "task" : undefined }, joined(children));
}

function tableCell(name, { tokens, align }) {
  return element(name, { class: align ?? undefined, scope: name === "th" ? "col" : undefined }, inline(tokens));
}

/** A link, if its scheme is allowed. Images become links too: an address that loads by itself could leak the
 * conversation. */
function anchor(address, children, kind) {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (!url || !SCHEMES.includes(url.protocol)) return null;
  return element("a", { class: kind, href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" }, children);
}
