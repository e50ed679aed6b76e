/**
 * Announces an answer to screen readers in whole sentences. The answer itself is not a live region: with an update per
 * token, a screen reader would only speak beginnings.
 */

const PACE_MS = 1000;
const KEPT = 20; // spoken paragraphs stay in the live region; older ones are removed

const FENCE = /^ *(?:```|~~~)/gm;
const SENTENCES = new Intl.Segmenter(document.documentElement.lang, { granularity: "sentence" });

export class Announcer {
  #region;
  #said = 0; // characters of the text
  #read = () => "";
  #timer = null;

  constructor(region) {
    this.#region = region;
  }

  /** Drop the current text, because its answer is over or replaced. */
  hush() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#said = 0;
    this.#read = () => "";
  }

  /** `read()` returns the text so far. Its new whole sentences are announced together, at most once per `PACE_MS`. */
  follow(read) {
    this.#read = read;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      const text = this.#read();
      if (text.length < this.#said) this.#said = 0; // rewritten from the start
      const rest = text.slice(this.#said);
      const whole = rest.slice(0, endOfSentences(rest));
      this.#said += whole.length;
      this.say(spoken(whole));
    }, PACE_MS);
  }

  /** Announce the rest, and how the answer ended. */
  end(text, ending) {
    this.say(spoken(text.slice(this.#said)));
    this.say(ending);
    this.hush();
  }

  /** Announce now. */
  say(text) {
    if (!text) return;
    this.#region.append(Object.assign(document.createElement("p"), { textContent: text }));
    while (this.#region.childElementCount > KEPT) this.#region.firstChild.remove();
  }
}

/** Where the last whole sentence ends, given that the next one has begun. A code block counts as one sentence. */
function endOfSentences(text) {
  const fences = [...text.matchAll(FENCE)];
  if (fences.length % 2) return fences.at(-1).index;
  let end = 0;
  for (const { index } of SENTENCES.segment(text)) end = index;
  return end;
}

/** Markdown without its marks, and without code. */
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
