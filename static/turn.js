/** Shows a question and its answer on the page. */
import { copy } from "./code.js";
import { Markdown } from "./markdown.js";

const STATES = { thinking: "Thinking…", writing: "Writing…", reconnecting: "Connection lost. Reconnecting…" };
const ENDINGS = {
  completed: "",
  incomplete: "Cut short",
  cancelled: "Stopped",
  abandoned: "Stopped: nobody was reading",
  failed: "Failed",
  timed_out: "Timed out",
  over_budget: "Over budget",
  interrupted: "Interrupted",
};
const SYMBOLS = { INR: "₹", USD: "$", EUR: "€", GBP: "£" };
const HIDDEN_PAGE_MS = 250;
const FRAME_MS = 16;
const REST = 2; // drawing takes at most a third of the time
const BITE = 4000; // characters drawn at once, so that the page stays responsive

/** How the answer ended, in words; empty if it is complete. */
export function ending(turn) {
  return turn.message || ENDINGS[turn.status];
}

export class TurnView {
  #answer;
  #reasoning;
  #isScheduled = false;
  #cost = 0;
  #drawn;

  /** Calls `drawn` after each update, and `edit` or `again` when the reader asks for it. */
  constructor(turn, { drawn, edit, again }) {
    this.turn = turn;
    this.element = document.getElementById("turn").content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`.${name}`);
    this.part("question").textContent = turn.question;
    this.#answer = new Markdown(this.part("answer"));
    this.#reasoning = new Markdown(this.part("reasoning").lastElementChild);
    this.part("copy-answer").onclick = ({ target }) => copy(turn.text, target);
    this.part("again").onclick = () => again(this);
    this.part("edit").onclick = () => this.#edit((question) => edit(this, question));
    this.#drawn = drawn;
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

  #draw() {
    const began = performance.now();
    const { turn, element } = this;
    this.#isScheduled = false;
    const isWhole = [this.#write(this.#reasoning, turn.reasoning), this.#write(this.#answer, turn.text)].every(Boolean);
    this.part("reasoning").hidden = !turn.reasoning;
    if (isWhole) {
      element.dataset.state = turn.status ?? turn.state;
      element.setAttribute("aria-busy", !turn.status);
      this.#foot();
    } else this.change();
    this.#drawn();
    this.#cost = performance.now() - began;
  }

  /** Draw the next piece. Returns whether all of the text is drawn. */
  #write(markdown, text) {
    const end = Math.min(text.length, markdown.length + BITE);
    markdown.show(text.slice(0, end), Boolean(this.turn.status) && end === text.length);
    return end === text.length;
  }

  #foot() {
    const { turn } = this;
    const texts = footing(turn);
    const state = this.part("state");
    if (state.textContent !== texts.join("")) {
      const spans = texts.map((text) => Object.assign(document.createElement("span"), { textContent: text }));
      state.replaceChildren(...spans);
    }
    this.part("actions").hidden = !turn.status;
    this.part("copy-answer").hidden = !turn.text;
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

/** Whether Enter should send. Not with Shift, which makes a new line, nor while an input method composes. */
export function isEnter(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.localName === "textarea";
}

function footing(turn) {
  if (!turn.status) return [STATES[turn.state]];
  const { usage = {} } = turn;
  const about = usage.source === "estimated" ? "about " : "";
  const parts = [ending(turn)];
  if (usage.input_tokens !== undefined) parts.push(`${about}${usage.input_tokens} tokens in`);
  if (usage.output_tokens !== undefined) parts.push(`${about}${usage.output_tokens} tokens out`);
  if (usage.cost !== undefined) parts.push(about + money(usage));
  else if (usage.source !== "none" && turn.usage) parts.push("cost unknown");
  if (turn.ttft) parts.push(`first token after ${(turn.ttft / 1000).toFixed(2)} s`);
  return parts.filter(Boolean);
}

function money({ cost, currency }) {
  const amount = Number(cost);
  const figure = amount && amount < 0.01 ? amount.toPrecision(2) : amount.toFixed(4);
  return SYMBOLS[currency] ? SYMBOLS[currency] + Number(figure) : `${Number(figure)} ${currency}`;
}
