/** The messages of a request: the conversation so far, as `POST /chat` takes it. */
import { Answer } from "../llm/static/llm-stream.js";

/**
 * The earlier turns that were answered, and the question of `turn` with what has been said to it. If that has more than
 * `mostBytes`, files of earlier questions are left out, the oldest first.
 */
export function messagesFor(turns, turn, mostBytes) {
  const before = turns.slice(0, turns.indexOf(turn));
  const withFiles = before.filter(({ files }) => files?.length);
  for (;;) {
    const messages = built(before, turn, new Set(withFiles));
    if (!withFiles.length || sizeOf(messages) <= mostBytes) return messages;
    withFiles.shift();
  }
}

/** In bytes of JSON. */
export function sizeOf(value) {
  return new Blob([JSON.stringify(value)]).size;
}

function built(before, turn, withFiles) {
  let messages = [];
  for (const earlier of before) {
    const own = exchange(earlier, earlier.legs.length, withFiles.has(earlier)).flatMap(closed);
    if (own.length > 1) messages = [...messages, ...own]; // a question that was not answered is not asked again
  }
  return [...messages, ...exchange(turn, turn.leg, true)].map(plain);
}

/** A question and its first `legs` answers: after an approval, another answer goes on. */
function exchange({ question, files = [], legs }, count, hasFiles) {
  const asked = { role: "user", content: contentOf(question, files, hasFiles) };
  const answers = legs.slice(0, count).map((leg) => Object.assign(new Answer(), leg));
  return answers.reduce((messages, answer) => answer.appendTo(messages), [asked]);
}

function contentOf(question, files, hasFiles) {
  if (!files.length) return question;
  const parts = files.map((file) => (hasFiles && file.url ? partOf(file) : goneFile(file)));
  return [...(question ? [textPart(question)] : []), ...parts];
}

function partOf({ name, type, url }) {
  if (type.startsWith("image/")) return { type: "image_url", image_url: { url } };
  return { type: "file", file: { filename: name, file_data: url } };
}

/** So that the model knows why it was asked. */
function goneFile({ name }) {
  return textPart(`(The file ${name} is no longer there.)`);
}

function textPart(text) {
  return { type: "text", text };
}

/** Without calls that were never allowed or denied: the next question took over, and providers refuse open calls. */
function closed(message) {
  if (!message.tool_calls) return message;
  const { tool_calls: calls, ...rest } = message;
  const whole = calls.filter((call) => "result" in call || "error" in call);
  if (whole.length) return { ...rest, tool_calls: whole };
  return rest.content || rest.refusal ? rest : [];
}

/** A refusal is sent as the text that it is. */
function plain({ refusal, ...message }) {
  return refusal ? { ...message, content: (message.content ?? "") + refusal } : message;
}
