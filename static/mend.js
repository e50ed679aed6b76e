/**
 * Completes unfinished Markdown at the end of a growing text: closes open marks, and holds back ambiguous ones.
 * Otherwise asterisks would flash before each bold word, and a list after a line of text would first show as a heading.
 */

const FENCE = /^ *(?:(?:[-*+>]|\d+[.)]) +)*(`{3,}|~{3,})/;
const HALF_FENCE = /\n *[`~]{1,2}$/;
const BARE_MARKER = /(?:^|\n)[ \t]*(?:[-=*_+#>~`]+|\d{1,9}[.)]?|[-*+] +\[[ xX]?\]?)?[ \t]*$/;
const TABLE_HEAD = /(?:^|\n\n|\n(?!\|)[^\n]*\n)\|[^\n]*(?:\n[|\s:-]*)?$/;
const HALF_LINK = /(^|[\s(*_])!?\[([^\]\n]*)(?:\](?:\([^)\s]*)?)?$/;
const OPENING_MARK = /(^|[\s("“])[*_~`]+$/;
const CODE_SPAN = /(`+)(?:(?!\1).)*\1/gs;

const MOST = 2_000; // characters from the end; marks rarely span more

export function mended(text) {
  const whole = text.replace(HALF_FENCE, "");
  if (isInFence(whole)) return whole;
  const from = Math.max(0, text.lastIndexOf("\n", text.length - MOST));
  const end = text.slice(from);
  return end.length > 2 * MOST ? text : text.slice(0, from) + withEnd(end); // too long for a line of prose
}

function withEnd(text) {
  text = text.replace(TABLE_HEAD, "");
  if (isInFence(withoutLastLine(text))) return text; // the last line's fence closes the code
  const bare = text.replace(BARE_MARKER, "");
  const paragraph = bare.lastIndexOf("\n\n") + 1;
  return bare.slice(0, paragraph) + closed(bare.slice(paragraph));
}

function withoutLastLine(text) {
  const written = text.trimEnd();
  return written.slice(0, Math.max(0, written.lastIndexOf("\n")));
}

function isInFence(text) {
  let open = "";
  for (const line of text.split("\n")) {
    const [, fence] = FENCE.exec(line) ?? [];
    if (!fence) continue;
    if (!open) open = fence;
    else if (fence.startsWith(open)) open = "";
  }
  return open !== "";
}

function closed(text) {
  text = text.replace(HALF_LINK, "$1$2").replace(OPENING_MARK, "$1");
  const prose = text.replace(CODE_SPAN, "");
  if (prose.includes("`")) return text + "`";
  for (const mark of ["**", "~~"]) if (isOpen(prose, mark)) text = text.replace(/[*~]$/, "") + mark;
  return text;
}

function isOpen(text, mark) {
  const parts = text.split(mark);
  return parts.length % 2 === 0 && /^\S/.test(parts.at(-1));
}
