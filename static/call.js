/** A tool call: folded, with what went in and what came out. Where it waits for approval, it asks. */
import { element, reconcile } from "./elements.js";
import { jsonBox } from "./json.js";

export class Call {
  #body;
  #decide = () => {};
  #hasAsked = false;

  constructor() {
    this.element = document.getElementById("call").content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`.${name}`);
    this.#body = this.part("call-body");
    this.part("allow").onclick = () => this.#answer(true);
    this.part("deny").onclick = () => this.#answer(false);
  }

  #answer(isAllowed) {
    this.part("approval").hidden = true;
    this.element.querySelector("details").open = false;
    this.#decide(isAllowed);
  }

  #unfold() {
    this.element.querySelector("details").open = true;
  }

  /** `isOver`: nothing more comes. `decision` is undefined if there is none yet, `decide` is if none can be made. */
  show(call, { isOver, decision, decide }) {
    const outcome = call.outcome ?? call;
    const isAsking = call.approval !== undefined && !isSettled(outcome);
    const name = call.name ?? "a tool";
    this.#decide = decide ?? (() => {});
    this.element.dataset.state = stateOf(outcome, isOver, isAsking, decision);
    this.part("call-name").textContent = name;
    this.part("call-state").textContent = STATES[this.element.dataset.state];
    reconcile(this.#body, [...shown("Arguments", parsed(call.arguments)), ...result(outcome)]);
    this.part("approval").hidden = !isAsking || !decide || decision !== undefined;
    this.part("approval").setAttribute("aria-label", `May ${name} run?`);
    this.part("approval").firstElementChild.textContent = `May ${name} run with these arguments?`;
    if (isAsking && !this.#hasAsked) this.#unfold(); // one should see what one allows
    this.#hasAsked ||= isAsking;
  }
}

const STATES = {
  running: "running…",
  done: "done",
  failed: "failed",
  open: "not run",
  asking: "waits for you",
  allowed: "allowed",
  denied: "denied",
};

function stateOf(outcome, isOver, isAsking, decision) {
  if (isSettled(outcome)) return outcome.error === undefined ? "done" : "failed";
  if (decision !== undefined) return decision ? "allowed" : "denied";
  if (isAsking) return "asking";
  return isOver ? "open" : "running";
}

function isSettled(outcome) {
  return "result" in outcome || outcome.error !== undefined;
}

function result(outcome) {
  if (outcome.error !== undefined) return shown("Error", outcome.error);
  return "result" in outcome ? shown("Result", outcome.result) : [];
}

function shown(heading, value) {
  return [element("p", { class: "json-name" }, [heading]), jsonBox(heading, value)];
}

/** Arguments are JSON when they are complete. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
