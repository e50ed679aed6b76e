/** Stores the turns of a conversation for this tab across reloads, and reads the answer of a turn. */
import { Answer, follow, newKey, start, StreamError } from "../llm/static/llm-stream.js";

// where wsgi.py registers the blueprint
const PREFIX = new URL("../llm", import.meta.url).pathname;
const KEPT = "llm-stream.conversation";
const LONGEST_TASK_MS = 12;

/** The stored turns; none if an older version wrote them in another format. */
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
    // full or forbidden: go on without storage
  }
}

export function newTurn(question) {
  return { question, text: "", reasoning: "", state: "thinking", asked: Date.now(), key: newKey() };
}

/** The request's messages: the answered turns before this one, and its question. */
export function messages(turns, turn) {
  const answered = turns.slice(0, turns.indexOf(turn)).filter(({ text }) => text);
  const before = answered.flatMap(({ question, text }) => [
    { role: "user", content: question },
    { role: "assistant", content: text },
  ]);
  return [...before, { role: "user", content: turn.question }];
}

/**
 * Read the answer to its end, into `turn`. Calls `changed` after each event, and `save` when the turn must be stored.
 * The key is stored before the question is sent, so that the same request after a reload finds the paid answer.
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
  const whole = new Answer(); // from its start, also after a reload
  let began = performance.now();
  for await (const event of follow(turn.url, options)) {
    whole.take(event);
    if (event.type === "delta" && !turn.ttft) {
      turn.ttft = Date.now() - turn.asked;
      save();
    }
    show(turn, whole);
    changed();
    if (performance.now() - began > LONGEST_TASK_MS) { // a thousand events may come at once
      await new Promise((resolve) => setTimeout(resolve));
      began = performance.now();
    }
  }
}

function show(turn, { text, refusal, reasoning, failure, usage, status }) {
  Object.assign(turn, { text: text + refusal, reasoning, usage });
  if (turn.text) turn.state = "writing";
  if (failure) Object.assign(turn, { message: failure.message, retryable: failure.retryable });
  if (status !== "running") turn.status = status;
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
