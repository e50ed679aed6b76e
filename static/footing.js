/** The line below an answer: its state while it is written, then how it ended and what it cost. */

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
const TOKENS = ["input_tokens", "output_tokens"];

/** How the answer ended, in words; empty if it is complete. */
export function ending(turn) {
  if (isWaiting(turn)) return "Waiting for your decision";
  return turn.message || ENDINGS[turn.status];
}

/** Whether calls of the last answer wait for approval. */
export function isWaiting({ legs, leg, status }) {
  return status === "completed" && leg === legs.length - 1 && legs[leg].approvals.length > 0;
}

export function footing(turn) {
  if (!turn.status) return [STATES[turn.state]];
  const usage = total(turn.legs.flatMap((leg) => leg.usage ?? []));
  const about = usage?.source === "estimated" ? "about " : "";
  const parts = [ending(turn)];
  if (usage?.input_tokens !== undefined) parts.push(`${about}${usage.input_tokens} tokens in`);
  if (usage?.output_tokens !== undefined) parts.push(`${about}${usage.output_tokens} tokens out`);
  if (usage?.cost !== undefined) parts.push(about + money(usage));
  else if (usage && usage.source !== "none") parts.push("cost unknown");
  if (turn.ttft) parts.push(`first token after ${(turn.ttft / 1000).toFixed(2)} s`);
  if (turn.model) parts.push(turn.model);
  return parts.filter(Boolean);
}

/** Of all answers of a turn. A figure that is not known of each is left out, and so is a cost in several currencies. */
function total(usages) {
  if (usages.length < 2) return usages[0];
  const sum = { source: usages.some(({ source }) => source === "estimated") ? "estimated" : usages[0].source };
  for (const name of TOKENS) {
    const all = usages.map((usage) => usage[name]);
    if (!all.includes(undefined)) sum[name] = all.reduce((one, other) => one + other);
  }
  const { currency } = usages[0];
  if (usages.some((usage) => usage.cost === undefined || usage.currency !== currency)) return sum;
  return { ...sum, currency, cost: usages.reduce((all, { cost }) => all + Number(cost), 0) };
}

function money({ cost, currency }) {
  const amount = Number(cost);
  const figure = amount && amount < 0.01 ? amount.toPrecision(2) : amount.toFixed(4);
  return SYMBOLS[currency] ? SYMBOLS[currency] + Number(figure) : `${Number(figure)} ${currency}`;
}
