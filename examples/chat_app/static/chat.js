import { Answer, follow, newKey, stop } from "/llm/static/llm-stream.js";

const form = document.querySelector("#ask");
const [send, stopButton] = form.querySelectorAll("button");
let running; // the URL of the answer that is being written

scrollTo(0, document.body.scrollHeight);
send.disabled = false; // from now on this module sends the questions

for (const turn of document.querySelectorAll("[data-stream]")) {
  read(turn, form.dataset.streams + turn.dataset.stream); // the user reloaded the page during an answer
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form));
  const turn = document.querySelector("#turn").content.firstElementChild.cloneNode(true);
  turn.querySelector(".question").textContent = body.get("question");
  document.querySelector("#turns").append(turn);
  form.reset();
  history.replaceState(null, "", form.dataset.page); // now a new conversation has its own URL
  read(turn, `${form.action}?key=${newKey()}`, { body }); // with the key, a lost request can be repeated
});

form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!send.disabled) form.requestSubmit();
});

stopButton.addEventListener("click", () => stop(running));

async function read(turn, url, options) {
  const [text, state] = turn.querySelectorAll(".answer, .state");
  const answer = new Answer();
  send.disabled = true;
  state.textContent = "running";
  try {
    for await (const event of follow(url, options)) {
      answer.take(event);
      if (event.type === "start") running = form.dataset.streams + answer.id;
      stopButton.hidden = answer.status !== "running";
      showAnswer(answer, text, state);
    }
    if (answer.status === "running") location.reload(); // the stream ended without us: the database has the result
  } catch (error) {
    state.textContent = error.message;
  } finally {
    send.disabled = false;
    stopButton.hidden = true;
  }
}

function showAnswer(answer, text, state) {
  const isAtEnd = innerHeight + scrollY > document.body.scrollHeight - 50;
  text.textContent = answer.text;
  const words = answer.status === "completed" ? [] : [answer.failure?.message ?? answer.status];
  if (answer.usage?.output_tokens) words.push(`${answer.usage.output_tokens} tokens`);
  if (answer.usage?.cost) words.push(`${answer.usage.cost} ${answer.usage.currency}`);
  state.textContent = words.join(", ");
  if (isAtEnd) scrollTo(0, document.body.scrollHeight);
}
