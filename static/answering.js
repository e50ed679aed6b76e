/** Reads the answer of a turn from the server, into the turn. */
import { Answer, follow, newKey, start, StreamError } from "../llm/static/llm-stream.js";

// where wsgi.py registers the blueprint
const PREFIX = new URL("../llm", import.meta.url).pathname;
const LONGEST_TASK_MS = 12;
const DENIED = { approved: false, reason: "The user denied it." };

/** A question. `legs` are its answers: one, and another after each approval. `leg` is the one that is read now. */
export function newTurn(question, files, model) {
  return { question, files, model, legs: [], leg: 0, ...unanswered() };
}

/** Note a decision. When all calls of the last answer are decided, returns the decisions as a request has them. */
export function decide(turn, token, isAllowed) {
  turn.decisions = { ...turn.decisions, [token]: isAllowed };
  const tokens = turn.legs.at(-1).approvals.map(({ id }) => id);
  if (!tokens.every((each) => each in turn.decisions)) return undefined;
  return Object.fromEntries(tokens.map((each) => [each, turn.decisions[each] || DENIED]));
}

/** Let the turn wait for another answer, which goes on after the `approvals`. */
export function goOn(turn, approvals) {
  Object.assign(turn, unanswered(), { approvals, leg: turn.legs.length });
}

function unanswered() {
  const nothing = { url: undefined, status: undefined, message: undefined, retryable: undefined, ttft: undefined };
  return { ...nothing, state: "thinking", asked: Date.now(), key: newKey() };
}

/** All that the model has said to the question, in one text. */
export function textOf({ legs }) {
  const texts = legs.flatMap(({ steps }) => steps.map(({ text, refusal }) => text + refusal)).filter(Boolean);
  return texts.length === 1 ? texts[0] : texts.join("\n\n"); // joining copies the text, and it is read for each event
}

/**
 * Read the answer to its end, into `turn`. Calls `changed` after each event, and `save` when the turn must be stored.
 * The key is stored before the question is sent, so that the same request after a reload finds the paid answer.
 */
export async function answer(turn, { messages, signal, changed, save }) {
  const options = { signal, onState: (state) => changed(Object.assign(turn, { state: stateOf(turn, state) })) };
  try {
    if (!turn.url) {
      const { key, model, approvals } = turn;
      turn.url = (await start(PREFIX, { messages: messages(), key, model, approvals }, options)).url;
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

function show(turn, answer) {
  const { id, model, status, steps, results, sources, files, data, approvals, usage, failure } = answer;
  turn.legs[turn.leg] = { id, model, status, steps, results, sources, files, data, approvals, usage };
  for (const result of results) settle(turn, result);
  if (answer.text || answer.refusal) turn.state = "writing";
  if (failure) Object.assign(turn, { message: failure.message, retryable: failure.retryable });
  if (status !== "running") turn.status = status;
}

/** Show the result in the call that was approved. In `legs` it stays where it came from, for the messages. */
function settle(turn, result) {
  const earlier = turn.legs.slice(0, turn.leg).flatMap(({ steps }) => steps.flatMap(({ toolCalls }) => toolCalls));
  const call = earlier.findLast(({ id }) => id === result.id);
  if (call) call.outcome = result;
}

function stateOf(turn, connection) {
  if (connection === "reconnecting") return connection;
  if (connection !== "open") return turn.state;
  return turn.legs[turn.leg]?.steps.some(({ text }) => text) ? "writing" : "thinking";
}

function fail(turn, error) {
  const gone = error.status === 404 || error.status === 410;
  const retryable = !(error instanceof StreamError) || error.retryable || gone;
  Object.assign(turn, { status: "failed", message: error.message, retryable });
}
