/** The chat page: ask, stop, edit, regenerate. */
import { stop } from "../llm/static/llm-stream.js";
import { Announcer } from "./announcer.js";
import { answer, keep, messages, newTurn, recall } from "./conversation.js";
import { Scroll } from "./scroll.js";
import { ending, isEnter, TurnView } from "./turn.js";

const page = (id) => document.getElementById(id);
const scroll = new Scroll(document.querySelector("main"), page("latest"));
const announcer = new Announcer(page("announcer"));

let turns = [];
let views = [];
let running = null; // the turn that is being answered, with its AbortController

function show(turn) {
  const again = (view) => askFrom(view, view.turn.question);
  const view = new TurnView(turn, { drawn: () => scroll.grown(), edit: askFrom, again });
  views.push(view);
  page("turns").append(view.element);
  return view;
}

function ask(question) {
  const turn = newTurn(question);
  turns.push(turn);
  keep(turns);
  const view = show(turn);
  scroll.toEnd();
  read(view);
}

/** Replace an earlier turn, and remove those after it. */
function askFrom(view, question) {
  leave();
  const at = views.indexOf(view);
  for (const gone of views.splice(at)) gone.element.remove();
  turns.length = at;
  ask(question);
  focusComposer(); // the focused element was removed
}

async function read(view) {
  const { turn } = view;
  const reading = { turn, giveUp: new AbortController(), stopped: false };
  running = reading;
  announcer.hush();
  drawComposer();
  await answer(turn, {
    history: messages(turns, turn),
    signal: reading.giveUp.signal,
    changed: () => {
      view.change();
      if (!turn.status) announcer.follow(turn.text);
    },
    save: () => keep(turns),
  });
  if (running !== reading) return; // another turn replaced it
  running = null;
  keep(turns);
  view.change();
  drawComposer();
  announcer.end(turn.text, ending(turn) || "The answer is complete.");
}

/** Stop, and wait for the usage. The second time, and before there is a URL, do not wait. */
function halt() {
  const { turn, giveUp, stopped } = running;
  if (turn.url) stop(turn.url);
  if (!turn.url || stopped) giveUp.abort(); // if a stream was started anyway, the server abandons it
  running.stopped = true;
}

/** Stop without waiting for the usage. */
function leave() {
  if (!running) return;
  if (running.turn.url) stop(running.turn.url);
  running.giveUp.abort();
  running = null;
  announcer.hush();
  drawComposer();
}

function drawComposer() {
  page("send").textContent = running ? "Stop" : "Send";
  page("send").classList.toggle("stop", Boolean(running));
  page("prompt").required = !running;
}

/** Focus the composer, but do not open a phone's keyboard. */
function focusComposer() {
  if (matchMedia("(pointer: fine)").matches) page("prompt").focus();
  else document.querySelector("main").focus();
}

page("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = page("prompt").value.trim();
  if (running) halt();
  else if (question) {
    page("prompt").value = "";
    ask(question);
  }
});
page("prompt").addEventListener("keydown", (event) => {
  if (!isEnter(event)) return;
  event.preventDefault();
  if (!running) page("composer").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running) halt();
});
page("latest").addEventListener("click", focusComposer);
page("new").addEventListener("click", () => {
  leave();
  turns = [];
  views = [];
  keep(turns);
  page("turns").replaceChildren();
  focusComposer();
});
addEventListener("pagehide", () => keep(turns)); // including a partial answer

turns = recall();
turns.forEach(show);
scroll.toEnd();
const last = views.at(-1);
if (last && !last.turn.status) {
  last.turn.state = "reconnecting";
  read(last);
}
