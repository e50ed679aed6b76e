/** The chat page: the composer, the conversations, and what the keys do. */
import { Announcer } from "./announcer.js";
import { Attachments } from "./attachments.js";
import * as kept from "./conversations.js";
import { isEnter, isTaken } from "./keys.js";
import { List } from "./list.js";
import { Scroll } from "./scroll.js";
import { Talk } from "./talk.js";
import { Toast } from "./toast.js";

const NOTE_MS = 8000;
const ENVELOPE_BYTES = 4096; // what a request has beside its messages
const BUSY = "An answer is being written. Press Escape to stop it, or send when it is complete.";
const SHORT = {
  emptied: "This browser's storage was full: deleted conversations were removed for good.",
  full: "This browser's storage is full: what is new here is lost when you close the page. Delete conversations.",
};

const page = (id) => document.getElementById(id);
const composer = page("composer");
const prompt = page("prompt");
const mostBytes = Number(composer.dataset.mostBytes) - ENVELOPE_BYTES;
const scroll = new Scroll(document.querySelector("main"), page("latest"));
const toast = new Toast(page("toast"), focusComposer);
const attachments = new Attachments(
  { box: page("attachments"), form: composer, picker: page("picker"), button: page("attach") },
  mostBytes,
  { say: note, left: focusComposer },
);
const list = new List(page("conversations"), { open, discard, restore });
const talk = new Talk({
  element: page("turns"),
  scroll,
  announcer: new Announcer(page("announcer")),
  mostBytes,
  model: () => page("model")?.value,
  changed: draw,
  focus: focusComposer,
  setAside: (aside, count) => toast.show(setAsideText(count), () => talk.takeBack(aside)),
  short: (outcome) => toast.show(SHORT[outcome]),
});
let noteTimer;

/** Called after each change of the conversation. */
function draw() {
  const { isRunning, conversation } = talk;
  page("send").textContent = isRunning ? "Stop" : "Send";
  page("send").classList.toggle("stop", isRunning);
  page("welcome").hidden = conversation.turns.length > 0;
  document.title = [conversation.title, document.body.dataset.title].filter(Boolean).join(" · ");
  list.draw(conversation.id);
}

function setAsideText(count) {
  return count > 1 ? `${count} questions were set aside.` : "The earlier answer was set aside.";
}

/** Say something below the composer, in the place of what the keys do. */
function note(text) {
  clearTimeout(noteTimer);
  page("note").textContent = text;
  noteTimer = setTimeout(() => page("note").replaceChildren(), NOTE_MS);
}

function ask(question) {
  page("note").replaceChildren();
  talk.ask(question, attachments.take());
}

function show(conversation, isOurs = false) {
  toast.close(); // what it undoes is no longer shown; it stays in the list
  talk.leave();
  talk.open(conversation);
  choose(conversation.turns.at(-1)?.model);
  scroll.toEnd();
  closeList();
  talk.resume(isOurs);
}

/** A conversation goes on with its model, if there still is one of that name. */
function choose(model) {
  const option = [...(page("model")?.options ?? [])].find(({ value }) => value === model);
  if (option) option.selected = true;
}

function open(id) {
  const conversation = kept.load(id);
  if (conversation) show(conversation);
  focusComposer();
}

function startNew() {
  show(kept.newConversation());
  focusComposer();
}

function discard(id, title) {
  const isOpen = id === talk.conversation.id;
  if (isOpen) talk.leave();
  kept.discard(id);
  if (isOpen) show(kept.newConversation());
  list.draw();
  closeList();
  const undo = () => (kept.restore(id), isOpen ? open(id) : list.draw());
  toast.show(`“${title}” was deleted.`, undo);
  toast.focus(); // the button that had the focus is gone
}

function restore(id) {
  kept.restore(id);
  open(id);
}

/** On a narrow page the list lies over the conversation. */
function closeList() {
  if (page("conversations").matches(":popover-open")) page("conversations").hidePopover();
}

/** Focus the composer, but do not open a phone's keyboard. */
function focusComposer() {
  if (matchMedia("(pointer: fine)").matches) prompt.focus();
  else document.querySelector("main").focus();
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const question = prompt.value.trim();
  if (talk.isRunning) return talk.halt();
  if (!question && attachments.isEmpty) return note("Write a question first.");
  prompt.value = "";
  ask(question);
});
prompt.addEventListener("keydown", (event) => {
  if (!isEnter(event)) return;
  event.preventDefault();
  if (talk.isRunning) note(BUSY);
  else composer.requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && talk.isRunning && !isTaken()) talk.halt();
});
page("latest").addEventListener("click", focusComposer);
page("new").addEventListener("click", startNew);
page("welcome").addEventListener("click", ({ target }) => {
  if (target.localName !== "button") return;
  ask(target.textContent);
  focusComposer();
});
addEventListener("pagehide", () => talk.isRunning && talk.keep()); // the partial answer
kept.watch((id) => {
  list.draw();
  if (id !== talk.conversation.id || talk.sync()) return;
  show(kept.newConversation());
  toast.show("This conversation was deleted in another tab.", () => restore(id));
});

kept.purge();
show(kept.load(kept.opened()) ?? kept.newConversation(), true);
page("send").disabled = false; // from now on this module sends the questions
