import { Answer, follow, newKey } from "/llm/static/llm-stream.js";

let messages = []; // the conversation, in the form of the request

const page = document.querySelector("main");
const form = document.querySelector("form");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const question = form.question.value;
  form.reset();
  messages.push({ role: "user", content: question });
  const turn = element("article", {}, element("h2", {}, question));
  page.append(turn);
  ask(turn);
});
form.querySelector("button").disabled = false; // from now on this module sends the questions

/** Ask the agent. `approvals` are the user's decisions about calls of the previous answer. */
async function ask(turn, approvals) {
  const answer = new Answer();
  const view = element("div");
  turn.append(view);
  const body = JSON.stringify({ messages, approvals, key: newKey() });
  const headers = { "Content-Type": "application/json" };
  try {
    for await (const event of follow("/ask", { body, headers })) {
      answer.take(event);
      view.replaceChildren(...shown(answer));
    }
  } catch (error) {
    view.append(element("p", { role: "alert" }, error.message));
    return;
  }
  messages = answer.appendTo(messages);
  if (answer.approvals.length) view.append(question(turn, answer.approvals));
}

function* shown(answer) {
  for (const call of answer.toolCalls) yield folded(call);
  for (const { name, data } of answer.data) if (name === "chart") yield chart(data);
  yield element("p", { className: "text" }, answer.text);
  if (answer.sources.length) {
    const links = answer.sources.map(({ url, title }) => element("a", { href: url }, title ?? url));
    yield element("p", { className: "sources" }, "From: ", ...links);
  }
  if (answer.failure) yield element("p", { role: "alert" }, answer.failure.message);
}

function folded({ name, arguments: sent, result, error }) {
  const outcome = error ?? (result === undefined ? "…" : JSON.stringify(result, null, 1));
  return element("details", {}, element("summary", {}, name), element("pre", {}, `${sent}\n${outcome}`));
}

/** The `data` event of the tool `draw_growth`. */
function chart({ title, points }) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS(svg.namespaceURI, "polyline");
  const highest = Math.max(...points);
  const place = (point, at) => `${(at * 100) / (points.length - 1)},${50 - (point * 50) / highest}`;
  svg.setAttribute("viewBox", "0 0 100 50");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `The growth of ${title}: ${points.join(", ")} cm`);
  line.setAttribute("points", points.map(place).join(" "));
  svg.append(line);
  return svg;
}

/** Let the user allow or deny each call that waits for approval. */
function question(turn, approvals) {
  const decide = (approved) => {
    box.remove();
    ask(turn, Object.fromEntries(approvals.map(({ id }) => [id, approved])));
  };
  const names = approvals.map(({ name }) => name).join(", ");
  const allow = element("button", { onclick: () => decide(true) }, "Allow");
  const deny = element("button", { onclick: () => decide(false) }, "Deny");
  const box = element("p", {}, `May the agent call ${names}? `, allow, " ", deny);
  return box;
}

function element(name, attributes = {}, ...content) {
  const made = Object.assign(document.createElement(name), attributes);
  if (attributes.role) made.setAttribute("role", attributes.role);
  made.append(...content);
  return made;
}
