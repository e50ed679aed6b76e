/**
 * Starts streams of a flask-llm-stream blueprint and follows them, through lost connections, to their end.
 *
 *     const { url } = await start("/llm", { prompt: "Why is the sky blue?" });
 *     for await (const event of follow(url)) {
 *       if (event.type === "delta") page.textContent += event.data.text;
 *     }
 *
 * An event is `{ id, type, data }`; the last one is `done`, always.
 */

const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 15_000;

/** A refusal by the server: it makes no sense to ask again in the same words. */
export class StreamError extends Error {
  constructor(status, { code, message, retryable = false, error_id: errorId } = {}) {
    super(message || `The server answered ${status}.`);
    Object.assign(this, { status, code, retryable, errorId });
  }
}

/**
 * Start a stream without reading it. The key that goes with the request makes it safe to send it again: whatever
 * happens on the way, one answer is bought. Give a `key` of your own to find the answer again after a reload.
 *
 * @param {string} prefix where the blueprint is registered
 * @param {object} request `prompt` or `messages`, and `model`, `temperature`, `max_output_tokens`, `tools`
 * @param {{ signal?: AbortSignal, headers?: object, onState?: (state: string) => void }} [options]
 * @returns {Promise<{ id: string, url: string }>}
 */
export async function start(prefix, request, options = {}) {
  const body = JSON.stringify({ key: newKey(), ...request });
  const headers = { "Content-Type": "application/json", ...options.headers };
  return persistently(options, async () => {
    const response = await fetch(`${prefix}/streams`, { method: "POST", headers, body, signal: options.signal });
    if (!response.ok) throw await refusal(response);
    return response.json();
  });
}

/**
 * The events of a stream, each once and in order, across any number of connections.
 *
 * `onState` is told `connecting`, `open`, `reconnecting`. Throws `StreamError` if the server knows the stream no more.
 *
 * @param {string} url
 * @param {{ after?: string, signal?: AbortSignal, headers?: object, onState?: (state: string) => void }} [options]
 *   `after` is the id of the last event that is known already
 */
export async function* follow(url, options = {}) {
  let last = options.after;
  for (;;) {
    const headers = { Accept: "text/event-stream", ...options.headers, ...(last && { "Last-Event-ID": last }) };
    const response = await persistently(options, async () => {
      const answer = await fetch(url, { headers, signal: options.signal, cache: "no-store" });
      if (!answer.ok) throw await refusal(answer);
      return answer;
    });
    if (response.status === 204) return;
    options.onState?.("open");
    try {
      for await (const event of eventsIn(response.body)) {
        if (event.id) last = event.id;
        yield event;
        if (event.type === "done") return;
      }
    } catch (error) {
      if (options.signal?.aborted) throw error;
    }
    options.onState?.("reconnecting");
    await pause(FIRST_BACKOFF_MS * Math.random(), options.signal);
  }
}

/** Stop a stream; the upstream is closed at once. Works while the page is being closed, too. */
export function stop(url) {
  if (!navigator.sendBeacon?.(`${url}/cancel`)) fetch(url, { method: "DELETE", keepalive: true });
}

async function persistently(options, attempt) {
  for (let wait = FIRST_BACKOFF_MS; ; wait = Math.min(wait * 2, LONGEST_BACKOFF_MS)) {
    try {
      return await attempt();
    } catch (error) {
      const final = error instanceof StreamError && error.status !== 502 && error.status !== 503;
      if (final || options.signal?.aborted) throw error;
      options.onState?.("reconnecting");
      await pause(wait * (0.5 + Math.random() / 2), options.signal);
    }
  }
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html, for a server that ends its lines with LF. */
async function* eventsIn(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = eventOf(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function eventOf(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return fields.data && { id: fields.id, type: fields.event, data: JSON.parse(fields.data) };
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new StreamError(response.status, body.error);
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** A name for a question. Kept, and sent again with it, it finds the answer that was bought, wherever that was lost. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID() wants https
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
