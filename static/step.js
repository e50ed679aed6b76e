/** Shows a step of an answer: reasoning, text, and the tool calls that the step ends with. */
import { Call } from "./call.js";
import { part, reconcile } from "./elements.js";
import { Markdown } from "./markdown.js";

const BITE = 4000; // characters drawn at once, so that the page stays responsive

export class StepView {
  #answer;
  #reasoning;

  constructor() {
    this.element = document.getElementById("step").content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`.${name}`);
    this.#answer = new Markdown(this.part("answer"));
    this.#reasoning = new Markdown(this.part("reasoning").lastElementChild);
  }

  /** Draw the next piece. Returns whether all of the step is drawn. `about(call)` is what its view must know. */
  show({ text, refusal, reasoning, toolCalls }, isOver, about) {
    const isWhole = [
      this.#write(this.#reasoning, reasoning, isOver),
      this.#write(this.#answer, text + refusal, isOver),
    ].every(Boolean);
    this.part("reasoning").hidden = !reasoning;
    reconcile(this.part("calls"), toolCalls.map((call) => part(Call, call, about(call))));
    return isWhole;
  }

  #write(markdown, text, isOver) {
    const end = Math.min(text.length, markdown.length + BITE);
    markdown.show(text.slice(0, end), isOver && end === text.length);
    return end === text.length;
  }
}
