/**
 * Markdown on the page, while it is being written.
 *
 * The parser only tells what a text consists of; the elements are made here, by name, from a fixed set. There is no way
 * from the text to markup, to an attribute other than a link's checked address, or to anything that loads by itself.
 * A block that has ended is left alone: each time, only the last one is parsed and compared.
 */
import { Lexer } from "./vendor/marked.esm.js";
import { Code } from "./code.js";
import { bring, element, part } from "./elements.js";
import { withCharacters } from "./sanitizer.js";
import { mended } from "./mend.js";

const OPTIONS = { gfm: true, breaks: true };
const LONG = 20_000; // characters
const SCHEMES = ["http:", "https:", "mailto:"];

export class Markdown {
  #element;
  #settled = ""; // the text of the blocks that have ended
  #last = null; // the last of their nodes
  #links = Object.create(null); // addresses that were given in them: [1]: https://…

  #givesAddresses = false;
  length = 0; // of the text that is shown

  constructor(element) {
    this.#element = element;
  }

  /**
   * Show all of the text so far. `complete`: nothing will be added to it. Then it is parsed once more as a whole: what
   * was said later may change what came before, as the address of a link does. Long texts are spared that if possible.
   */
  show(text, complete = false) {
    this.length = text.length;
    text = text.replaceAll("\r\n", "\n").replaceAll("\r", "\n");
    const again = complete && (text.length < LONG || this.#givesAddresses);
    if (again || !text.startsWith(this.#settled)) this.#restart();
    const rest = text.slice(this.#settled.length);
    const tokens = parse(complete ? rest : mended(rest), this.#links);
    this.#givesAddresses ||= Object.keys(tokens.links ?? {}).length > 0;
    bring(this.#element, blocks(tokens), this.#next());
    if (!complete) this.#settle(tokens, rest);
  }

  #restart() {
    this.#settled = "";
    this.#last = null;
    this.#links = Object.create(null);
  }

  /** The node after those that are settled. */
  #next() {
    return this.#last ? this.#last.nextSibling : this.#element.firstChild;
  }

  /** What comes before an empty line and a line that is not indented, has ended. */
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
    return [{ type: "html", raw: text, text }]; // nested deeper than the parser's stack
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

/** Neighbouring texts as one. */
function joined(wishes) {
  const all = [];
  for (const wish of wishes) {
    if (typeof wish === "string" && typeof all.at(-1) === "string") all.push(all.pop() + wish);
    else all.push(wish);
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

/** A link, if it leads where links may lead. A picture is one, too: an address that loads by itself could carry what
 * was said here to anybody. */
function anchor(address, children, kind) {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (!url || !SCHEMES.includes(url.protocol)) return null;
  return element("a", { class: kind, href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" }, children);
}
