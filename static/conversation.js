/** The turns of a conversation, kept for this tab across reloads, and how one of them is answered. */
// where wsgi.py registers the blueprint
import { follow, newKey, start, StreamError } from "../llm/static/llm-stream.js";

const PREFIX = new URL("../llm", import.meta.url).pathname;
const KEPT = "llm-stream.conversation";
const LONGEST_TASK_MS = 12;

/** What was kept, or nothing if that was written by an older version. */
export function recall() {
  try {
    const turns = JSON.parse(sessionStorage.getItem(KEPT)) ?? [];
    return turns.every((turn) => typeof turn.question === "string" && typeof turn.text === "string") ? turns : [];
  } catch {
    return [];
  }
}

export function keep(turns) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(turns));
  } catch {
    // full, or forbidden: the conversation goes on without it
  }
}

export function newTurn(question) {
  return { question, text: "", reasoning: "", state: "thinking", asked: Date.now(), key: newKey() };
}

/** The request's messages: what was said before, and this question. */
export function messages(turns, turn) {
  const answered = turns.slice(0, turns.indexOf(turn)).filter(({ text }) => text);
  const before = answered.flatMap(({ question, text }) => [
    { role: "user", content: question },
    { role: "assistant", content: text },
  ]);
  return [...before, { role: "user", content: turn.question }];
}

/**
 * Read the answer to its end, into `turn`; `changed` is called after each event, `save` when there is news to keep.
 * The key was kept before the question is sent: asked again, after a reload, it finds the answer that it bought.
 */
export async function answer(turn, { history, signal, changed, save }) {
  const options = { signal, onState: (state) => changed(Object.assign(turn, { state: stateOf(turn, state) })) };
  try {
    if (!turn.url) {
      turn.url = (await start(PREFIX, { messages: history, key: turn.key }, options)).url;
      save();
    }
    await read(turn, options, changed, save);
  } catch (error) {
    if (signal.aborted) turn.status = "cancelled";
    else fail(turn, error);
  }
}

async function read(turn, options, changed, save) {
  let fresh = true;
  let began = performance.now();
  for await (const { type, data } of follow(turn.url, options)) {
    if (fresh) turn.text = turn.reasoning = ""; // it is read from its start
    fresh = false;
    if (type === "delta" && !turn.ttft) {
      turn.ttft = Date.now() - turn.asked;
      save();
    }
    take(turn, type, data);
    changed();
    if (performance.now() - began > LONGEST_TASK_MS) { // a thousand events may come at once
      await new Promise((resolve) => setTimeout(resolve));
      began = performance.now();
    }
  }
}

function take(turn, type, data) {
  if (type === "delta" || type === "refusal") {
    turn.state = "writing";
    turn.text += data.text;
  } else if (type === "reasoning") turn.reasoning += data.text;
  else if (type === "reset") turn.text = turn.reasoning = "";
  else if (type === "failure") Object.assign(turn, { message: data.message, retryable: data.retryable });
  else if (type === "usage") turn.usage = data;
  else if (type === "done") turn.status = data.status;
}

function stateOf(turn, connection) {
  if (connection === "reconnecting") return connection;
  if (connection !== "open") return turn.state;
  return turn.text ? "writing" : "thinking";
}

function fail(turn, error) {
  const gone = error.status === 404 || error.status === 410;
  const retryable = !(error instanceof StreamError) || error.retryable || gone;
  Object.assign(turn, { status: "failed", message: error.message, retryable });
}
