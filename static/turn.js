/** Shows a question and its answer on the page. */
import { textOf } from "./answering.js";
import { copy } from "./code.js";
import { element, reconcile } from "./elements.js";
import { extras } from "./extras.js";
import { footing, isWaiting } from "./footing.js";
import { isEnter } from "./keys.js";
import { StepView } from "./step.js";

const HIDDEN_PAGE_MS = 250;
const FRAME_MS = 16;
const REST = 2; // drawing takes at most a third of the time
const NOTHING = { text: "", refusal: "", reasoning: "", toolCalls: [] };

export class TurnView {
  #steps = [];
  #isScheduled = false;
  #cost = 0;
  #calls;

  /** Calls `drawn` after each update, and `edit`, `again` or `decide` when the reader asks for it. */
  constructor(turn, calls) {
    this.turn = turn;
    this.element = document.getElementById("turn").content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`.${name}`);
    this.part("question").textContent = turn.question;
    this.part("question").hidden = !turn.question;
    reconcile(this.part("question-files"), (turn.files ?? []).map(fileOf));
    this.part("copy-answer").onclick = ({ target }) => copy(textOf(turn), target);
    this.part("again").onclick = () => calls.again(this);
    this.part("edit").onclick = () => this.#edit((question) => calls.edit(this, question));
    this.#calls = calls;
    this.change();
  }

  /** Schedule an update: at most once per frame, and less often if drawing is slow. */
  change() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    const wait = document.hidden ? HIDDEN_PAGE_MS : this.#cost * REST; // a hidden page has no frames
    if (wait > FRAME_MS) setTimeout(() => this.#draw(), wait);
    else requestAnimationFrame(() => this.#draw());
  }

  /** Focus the next call that waits for a decision. */
  focusApproval() {
    this.element.querySelector(".approval:not([hidden]) .allow")?.focus();
  }

  #draw() {
    const began = performance.now();
    const { turn } = this;
    this.#isScheduled = false;
    if (this.#drawSteps()) {
      this.element.dataset.state = turn.status ?? turn.state;
      this.element.setAttribute("aria-busy", !turn.status);
      reconcile(this.part("extras"), turn.legs.flatMap(extras));
      this.#foot();
    } else this.change();
    this.#calls.drawn();
    this.#cost = performance.now() - began;
  }

  /** Returns whether all of the text is drawn. */
  #drawSteps() {
    const { status } = this.turn;
    const steps = stepsOf(this.turn);
    for (const gone of this.#steps.splice(steps.length)) gone.element.remove();
    while (this.#steps.length < steps.length) {
      const view = new StepView();
      this.#steps.push(view);
      this.part("steps").append(view.element);
    }
    return steps
      .map(({ step, leg }, at) => {
        const isOver = Boolean(status) || at < steps.length - 1;
        return this.#steps[at].show(step, isOver, (call) => this.#about(call, leg));
      })
      .every(Boolean);
  }

  #about({ approval }, leg) {
    const { legs, status, decisions = {} } = this.turn;
    const canDecide = isWaiting(this.turn) && leg === legs.at(-1);
    return {
      isOver: Boolean(status) || leg !== legs.at(-1),
      decision: decisions[approval],
      decide: canDecide ? (isAllowed) => this.#calls.decide(this, approval, isAllowed) : undefined,
    };
  }

  #foot() {
    const { turn } = this;
    const texts = footing(turn);
    const state = this.part("state");
    if (state.textContent !== texts.join("")) reconcile(state, texts.map((text) => element("span", {}, [text])));
    this.part("actions").hidden = !turn.status;
    this.part("copy-answer").hidden = !textOf(turn);
    const failed = Boolean(turn.retryable);
    this.part("again").textContent = failed ? "Try again" : "Regenerate";
    this.part("again").classList.toggle("prominent", failed);
  }

  #edit(send) {
    const question = this.part("question");
    const form = document.getElementById("edit").content.firstElementChild.cloneNode(true);
    const field = form.querySelector("textarea");
    const close = () => {
      form.replaceWith(question);
      this.element.classList.remove("editing");
      this.part("edit").focus();
    };
    field.value = this.turn.question;
    form.onsubmit = (event) => {
      event.preventDefault();
      if (field.value.trim()) send(field.value.trim());
    };
    form.onkeydown = (event) => {
      if (event.key === "Escape") close();
      else if (isEnter(event)) form.requestSubmit();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    form.querySelector("[type=button]").onclick = close;
    this.element.classList.add("editing");
    question.replaceWith(form);
    field.focus();
  }
}

/** Those that say something, and the last one, which may still do so. There is always one. */
function stepsOf({ legs }) {
  const all = legs.flatMap((leg) => leg.steps.map((step) => ({ step, leg })));
  const says = ({ step }) => step.text || step.refusal || step.reasoning || step.toolCalls.length;
  return all.length ? all.filter((each, at) => says(each) || at === all.length - 1) : [{ step: NOTHING }];
}

/** A file of the question. After a reload only its name is there. */
function fileOf({ name, type, url }) {
  if (!url) return element("li", { class: "file" }, [`${name} (not kept in this browser)`]);
  if (!type.startsWith("image/")) return element("li", { class: "file" }, [name]);
  return element("li", {}, [element("img", { src: url, alt: name })]);
}
