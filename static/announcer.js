/**
 * Reads an answer out to a screen reader by whole sentences. The answer itself is not live: a reader that is told of
 * every token says nothing but beginnings.
 */

const PACE_MS = 1000;
const KEPT = 20; // a live region is heard when something is added; what was heard may go

const FENCE = /^ *(?:```|~~~)/gm;
const SENTENCES = new Intl.Segmenter(document.documentElement.lang, { granularity: "sentence" });

export class Announcer {
  #region;
  #said = 0; // how much of the text
  #text = "";
  #timer = null;

  constructor(region) {
    this.#region = region;
  }

  /** Forget what was being said: another answer begins, or none. */
  hush() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#said = 0;
    this.#text = "";
  }

  /** The text so far; its whole sentences are said in a moment, many at once if it is fast. */
  follow(text) {
    if (text.length < this.#said) this.#said = 0; // written anew
    this.#text = text;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      const rest = this.#text.slice(this.#said);
      const whole = rest.slice(0, endOfSentences(rest));
      this.#said += whole.length;
      this.say(spoken(whole));
    }, PACE_MS);
  }

  /** Say what is left, and how it ended. */
  end(text, ending) {
    this.say(spoken(text.slice(this.#said)));
    this.say(ending);
    this.hush();
  }

  /** Now. */
  say(text) {
    if (!text) return;
    this.#region.append(Object.assign(document.createElement("p"), { textContent: text }));
    while (this.#region.childElementCount > KEPT) this.#region.firstChild.remove();
  }
}

/** Where the last whole sentence ends: the one after it has begun. A block of code is said as a whole, too. */
function endOfSentences(text) {
  const fences = [...text.matchAll(FENCE)];
  if (fences.length % 2) return fences.at(-1).index;
  let end = 0;
  for (const { index } of SENTENCES.segment(text)) end = index;
  return end;
}

/** Markdown without its marks; code is to be read on the page. */
function spoken(markdown) {
  return markdown
    .replace(/^ *(```|~~~)[\s\S]*?(^ *\1 *$|$(?![\s\S]))/gm, "Code. ")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^[ \t]*(?:#{1,6}|>|[-*+])[ \t]+/gm, "")
    .replace(/^[|\s:-]+$/gm, "")
    .replace(/[*_~`|]+/g, " ")
    .replace(/\s+/g, " ")
    .trim();
}
