// @ts-check
/**
 * Starts streams of a flask-llm-stream blueprint and follows them to their end, reconnecting as needed.
 *
 *     const stream = await start("/llm", { prompt: "Why is the sky blue?" });
 *     for await (const { type, data } of stream) {
 *       if (type === "delta") page.textContent += data.text;
 *     }
 *
 * An event is `{ id, type, data }`. The last one is always `done`. `Answer` assembles an answer from its events.
 *
 * Over HTTP/1.1 a browser opens at most six connections to a site, for all tabs together. So the tabs of an origin share
 * one connection per blueprint. The tab that holds a Web Lock is the leader: it reads for all tabs and forwards events on
 * a BroadcastChannel. If the leader closes, another tab gets the lock. No tab buffers events for another tab: each tab
 * requests the events after its last number from the server's log, and drops events that it already has.
 *
 * @import * as types from "./llm-stream.d.ts"
 */

const FIRST_WAIT_MS = 1_000; // until the server sends `retry:`
const LONGEST_WAIT_MS = 30_000;
const SILENCE_MS = 45_000; // three heartbeats: the connection is dead, even if not closed
const MOST_TOGETHER = 100; // streams in one response; the server has the same limit
const PATIENCE_MS = 4_000; // the wait before a silent leader is pinged, and again after the ping
const TURN_MS = 1_000; // how long a tab keeps its connection if there are more tabs than connections
const CROWD = 4; // tabs that may each keep a connection if they cannot share one

/** The server refused the request, or sent a response that a retry would not improve. */
export class StreamError extends Error {
  /**
   * @param {number} status
   * @param {types.ErrorBody} [error]
   * @param {number} [retryAfter]
   */
  constructor(status, { code, message, retryable = false, error_id: errorId } = {}, retryAfter) {
    super(message || `The server answered ${status}.`);
    this.name = "StreamError";
    this.status = status;
    this.code = code;
    this.retryable = retryable;
    this.errorId = errorId;
    /** In seconds. */
    this.retryAfter = retryAfter;
  }
}

/**
 * Start a stream. Read it with `for await`, or later with `follow(stream.url)`. The request has a key, so a retry never
 * buys a second answer. Pass your own `key` to find the answer again after a reload.
 *
 * @param {string} prefix where the blueprint is registered
 * @param {types.ChatRequest} request
 * @param {types.FollowOptions} [options]
 * @returns {Promise<types.Stream>}
 */
export async function start(prefix, request, options = {}) {
  const body = JSON.stringify({ key: newKey(), ...request });
  const headers = { "Content-Type": "application/json", ...options.headers };
  const backoff = new Backoff();
  for (;;) {
    try {
      const response = await fetch(`${prefix}/streams`, init(options, { method: "POST", headers, body }));
      if (!response.ok) throw await refusal(response);
      const { id, url } = await response.json();
      const isElsewhere = /^(https?:)?\/\//i.test(prefix); // another origin than the page's; the server returns only a path
      return new Stream({ id, url: isElsewhere ? new URL(url, response.url).href : url }, options);
    } catch (error) {
      // report 429 at once: a user is waiting, and a free slot may take long
      if (options.signal?.aborted || !isTransient(error) || statusOf(error) === 429) throw error;
      options.onState?.("reconnecting");
      await pause(backoff.next(error), options.signal);
    }
  }
}

class Stream {
  #options;

  /** @param {{ id: string, url: string }} started @param {types.FollowOptions} options */
  constructor({ id, url }, options) {
    this.id = id;
    this.url = url;
    this.#options = options;
  }

  [Symbol.asyncIterator]() {
    return follow(this.url, this.#options);
  }

  stop() {
    stop(this.url, this.#options);
  }
}

/**
 * The events of a stream, each once and in order, across any number of connections.
 *
 * `url` is the URL of a stream, or of your own view that returns `llm.respond()`. With `body`, the request is a POST. A
 * request to a view without a `key` is not retried before its first event, because that would buy a second answer. Throws
 * `StreamError` if the server refuses the request or no longer has the stream.
 *
 * @param {string} url
 * @param {types.FollowOptions} [options]
 * @returns {AsyncGenerator<types.StreamEvent, void, undefined>}
 */
export async function* follow(url, options = {}) {
  const leave = () => stop(url, options);
  if (options.stopOnLeave) globalThis.addEventListener?.("pagehide", leave);
  try {
    const [, base, id] = /^([^?#]*\/streams)\/([^/?#]+)$/.exec(absolute(url)) ?? [];
    const isShared = base && options.share !== false && options.body === undefined;
    const name = isShared ? await nameOf(base, options) : undefined;
    yield* name ? hubOf(name, base, options).follow(id, options) : followAlone(url, options);
  } finally {
    globalThis.removeEventListener?.("pagehide", leave);
  }
}

/**
 * Stop a stream. Closes the upstream at once. Also works while the page is being closed.
 *
 * @param {string} url
 * @param {Pick<types.FollowOptions, "headers" | "credentials">} [options]
 */
export function stop(url, options = {}) {
  const isPlain = !options.headers && !options.credentials; // beacons cannot have headers
  if (isPlain && globalThis.navigator?.sendBeacon?.(`${url}/cancel`)) return;
  fetch(url, { ...init(options, { method: "DELETE", headers: options.headers }), keepalive: true }).catch(() => {});
}

/** A new key for a question. A repeated request with the same key gets the same answer, which is bought once. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID() needs https
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * An answer, assembled from the events so far. A `reset` discards the content before it.
 *
 * All state is in plain fields: `Object.assign(new Answer(), JSON.parse(text))` restores an answer saved as JSON.
 */
export class Answer {
  /** @type {string | undefined} */ id;
  /** @type {string | undefined} */ model;
  /** @type {types.Status | "running"} */ status = "running";
  /** @type {string | undefined} */ finishReason;
  text = "";
  reasoning = "";
  refusal = "";
  /** @type {types.ToolCall[]} */ toolCalls = [];
  /** @type {types.ToolResult[]} of calls that an earlier answer made */ results = [];
  /** @type {types.Source[]} */ sources = [];
  /** @type {types.File[]} */ files = [];
  /** @type {types.Data[]} */ data = [];
  /** @type {types.Approval[]} */ approvals = [];
  /** @type {unknown} the JSON so far */ partial;
  /** @type {unknown} the JSON, whole and checked */ parsed;
  /** @type {types.Step[]} */ steps = [newStep(1)];
  /** @type {types.Failure | undefined} */ failure;
  /** @type {types.Usage | undefined} */ usage;

  /** @param {types.StreamEvent} event */
  take({ type, data }) {
    if (type === "start") Object.assign(this, { id: data.id, model: data.model });
    else if (type === "delta") this.#write("text", data);
    else if (type === "reasoning") this.#write("reasoning", data);
    else if (type === "refusal") this.#write("refusal", data);
    else if (type === "failure") this.failure = data;
    else if (type === "usage") this.usage = data;
    else if (type === "reset") this.#forget();
    else if (type === "done") Object.assign(this, { status: data.status, finishReason: data.finish_reason });
    else this.#takeMore({ type, data });
  }

  /**
   * The answer as messages of a request: one for each step, with its tool calls and their results. Omits calls without a
   * result, because providers refuse them. Only the last calls of a complete answer stay: they wait for your tool's
   * result, or for an approval.
   *
   * @returns {types.AnswerMessage[]}
   */
  get messages() {
    const isWhole = this.status === "completed" || this.status === "incomplete";
    return this.steps.flatMap((step) => messageOf(step, isWhole && step === this.steps.at(-1)) ?? []);
  }

  /**
   * The conversation `messages` with this answer appended. Results of an earlier answer's calls, which have just been
   * approved, are added to those calls. `messages` itself is not changed.
   *
   * @param {readonly object[]} messages
   * @returns {object[]}
   */
  appendTo(messages) {
    return [...this.results.reduce(withResult, [...messages]), ...this.messages];
  }

  /** @param {"text" | "reasoning" | "refusal"} field @param {types.Text} more */
  #write(field, { text }) {
    this[field] += text;
    this.#step[field] += text;
  }

  get #step() {
    return /** @type {types.Step} */ (this.steps.at(-1));
  }

  #forget() {
    const { id, model, status, finishReason, failure, usage, ...empty } = new Answer();
    Object.assign(this, empty);
  }

  /** @param {Pick<types.StreamEvent, "type" | "data">} event */
  #takeMore(event) {
    const { type, data } = /** @type {types.StreamEvent} */ (event);
    if (type === "tool_call") this.#takeToolCall(data);
    else if (type === "tool_result") this.#takeResult(data);
    else if (type === "approval") this.#takeApproval(data);
    else if (type === "step") this.#takeStep(data);
    else if (type === "partial") Object.assign(this, { partial: data.value }, data.whole && { parsed: data.value });
    else if (type === "source") this.sources.push(data);
    else if (type === "file") this.files.push(data);
    else if (type === "data") this.#takeData(data);
    else if (type === "opaque") Object.assign(this.#step, { opaque: data.fields ?? {}, reasoningField: data.reasoning });
  }

  /** @param {types.ToolCallFragment} fragment */
  #takeToolCall({ index, id, name, arguments: more, server, opaque }) {
    let call = this.toolCalls.find((other) => other.index === index);
    if (call) call.arguments += more;
    else {
      call = { index, id, name, arguments: more };
      this.toolCalls.push(call);
      this.#step.toolCalls.push(call);
    }
    if (server) call.server = true;
    if (opaque) call.opaque = { ...call.opaque, ...opaque };
  }

  /** @param {{ number: number }} step */
  #takeStep({ number }) {
    this.steps.push(newStep(number));
    this.partial = undefined;
  }

  /** @param {types.ToolResult} result */
  #takeResult(result) {
    const call = this.toolCalls.findLast(({ id }) => id === result.id);
    if (call) Object.assign(call, outcomeOf(result));
    else this.results.push(result);
  }

  /** @param {types.Approval} approval */
  #takeApproval(approval) {
    this.approvals.push(approval);
    const call = this.toolCalls.findLast(({ id }) => id === approval.call_id);
    if (call) call.approval = approval.id;
  }

  /** @param {types.Data} data */
  #takeData(data) {
    if (data.transient) return;
    const at = this.data.findIndex(({ name, id }) => id !== undefined && name === data.name && id === data.id);
    if (at < 0) this.data.push(data);
    else this.data[at] = data;
  }
}

/** @param {number} number @returns {types.Step} */
function newStep(number) {
  return { number, text: "", reasoning: "", refusal: "", toolCalls: [] };
}

/**
 * The message of a step; undefined if the step is empty.
 *
 * @param {types.Step} step
 * @param {boolean} keepsOpen whether calls without a result stay
 * @returns {types.AnswerMessage | undefined}
 */
function messageOf({ text, reasoning, refusal, toolCalls, opaque = {}, reasoningField }, keepsOpen) {
  const calls = toolCalls.filter((call) => keepsOpen || "result" in call || "error" in call).map(asRequested);
  if (!text && !refusal && !calls.length) return;
  const fields = { ...(reasoningField && { [reasoningField]: reasoning }), ...opaque };
  return {
    role: "assistant",
    content: text || null,
    ...(refusal && { refusal }),
    ...(calls.length && { tool_calls: calls }),
    ...(Object.keys(fields).length && { opaque: fields }),
  };
}

/** @param {types.ToolCall} call @returns {types.MessageToolCall} */
function asRequested({ id = "", name = "", arguments: text, opaque, ...call }) {
  return { id, type: "function", function: { name, arguments: text }, ...outcomeOf(call), ...(opaque && { opaque }) };
}

/** @param {types.Outcome} outcome @returns {types.Outcome} */
function outcomeOf(outcome) {
  if (outcome.error !== undefined) return { error: outcome.error };
  return "result" in outcome ? { result: outcome.result } : {};
}

/**
 * The messages, with the result added to the last open call that it belongs to.
 *
 * @param {object[]} messages
 * @param {types.ToolResult} result
 */
function withResult(messages, result) {
  /** @param {types.MessageToolCall} call */
  const isOpen = (call) => call.id === result.id && !("result" in call) && !("error" in call);
  /** @param {any} message @returns {types.MessageToolCall[]} */
  const callsOf = (message) => message.tool_calls ?? [];
  const at = messages.findLastIndex((message) => callsOf(message).some(isOpen));
  if (at < 0) return messages;
  const calls = callsOf(messages[at]).map((call) => (isOpen(call) ? { ...call, ...outcomeOf(result) } : call));
  return messages.with(at, { ...messages[at], tool_calls: calls });
}

// One connection, with reconnects…

/**
 * @param {string} url
 * @param {types.FollowOptions} options
 * @returns {AsyncGenerator<types.StreamEvent, void, undefined>}
 */
async function* followAlone(url, options) {
  let last = options.after;
  const { body } = options;
  const mayRepeat = /\/streams\/[^/]+$|[?&]key=/.test(url) || (typeof body === "string" && /"key"\s*:/.test(body));
  const tell = changesTo(options.onState);
  tell("connecting");
  const line = new Line(() => {
    const headers = { Accept: "text/event-stream", ...options.headers, ...(last && { "Last-Event-ID": last }) };
    return [url, init(options, { headers, body, method: body === undefined ? "GET" : "POST" })];
  }, tell, options.signal);
  line.mayRepeat = () => mayRepeat || last !== undefined;
  for await (const events of line.batches()) {
    for (const event of events) {
      if (event.id) last = event.id;
      yield event;
      if (event.type === "done") return;
    }
  }
}

/** Makes requests and reads their responses, until there is nothing left to request. */
class Line {
  #request;
  #signal;
  #tell;
  #backoff = new Backoff();
  #turn = new AbortController();

  /** Whether a request may be retried if its outcome is unknown. */
  mayRepeat = () => true;

  /** Whether other tabs wait for a connection. */
  isCrowded = () => false;

  /**
   * @param {() => [url: string, init: RequestInit] | undefined} request called before each connection; the line ends
   *   when it returns no request
   * @param {(state: types.State) => void} tell
   * @param {AbortSignal} [signal]
   */
  constructor(request, tell, signal) {
    this.#request = request;
    this.#tell = tell;
    this.#signal = signal;
  }

  /** Whether the connection was closed by `renew()`. */
  get isRenewed() {
    return this.#turn.signal.aborted;
  }

  /** Close the connection. After `restMs`, call `request()` and open another one. */
  renew(restMs = 0) {
    this.#turn.abort(restMs);
  }

  /** @returns {AsyncGenerator<types.StreamEvent[], void, undefined>} the events of each read */
  async *batches() {
    for (;;) {
      this.#signal?.throwIfAborted();
      const request = this.#request();
      if (!request) return;
      const signal = this.#newTurn();
      let wait;
      try {
        const response = await this.#open(request, signal);
        if (response.status === 204) return;
        for await (const events of this.#read(response, signal)) {
          this.#backoff.reset();
          yield events;
        }
        if (!this.mayRepeat()) throw new StreamError(response.status, { code: "not_a_stream" });
        wait = this.#backoff.next();
      } catch (error) {
        if (this.#signal?.aborted) throw error;
        if (signal.aborted) wait = signal.reason;
        else if (isTransient(error) && (statusOf(error) || this.mayRepeat())) wait = this.#backoff.next(error);
        else throw error;
      }
      if (!signal.aborted && this.#request()) this.#tell("reconnecting");
      if (wait && this.#request()) await pause(wait, this.#newTurn()).catch(() => {});
    }
  }

  #newTurn() {
    this.#turn = new AbortController();
    return this.#signal ? AbortSignal.any([this.#turn.signal, this.#signal]) : this.#turn.signal;
  }

  /** @param {[string, RequestInit]} request @param {AbortSignal} signal */
  async #open([url, init], signal) {
    const response = await fetch(url, { ...init, signal, cache: "no-store" });
    if (!response.ok) throw await refusal(response);
    const kind = response.headers.get("Content-Type") ?? "";
    if (response.status !== 204 && !kind.startsWith("text/event-stream")) {
      const message = `The server answered with ${kind || "no content type"} instead of a stream.`; // perhaps a login page
      throw new StreamError(response.status, { code: "not_a_stream", message });
    }
    this.#tell("open");
    return response;
  }

  /** @param {Response} response @param {AbortSignal} signal */
  async *#read(response, signal) {
    let heard = Date.now();
    const turns = setInterval(() => {
      if (this.isCrowded()) this.renew(TURN_MS * Math.random());
      else if (Date.now() - heard > SILENCE_MS) this.renew();
    }, TURN_MS);
    const decoder = new TextDecoder();
    const parser = new Parser();
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        signal.throwIfAborted();
        if (done) return;
        heard = Date.now();
        const events = parser.push(decoder.decode(value, { stream: true }));
        this.#backoff.first = parser.retry ?? this.#backoff.first;
        if (events.length) yield events;
      }
    } finally {
      clearInterval(turns);
      reader.cancel().catch(() => {});
    }
  }
}

/** Parses https://html.spec.whatwg.org/multipage/server-sent-events.html with JSON data. */
class Parser {
  #line = "";
  #endsInCR = false;
  #id = "";
  #type = "";
  /** @type {string[]} */ #data = [];
  /** @type {number | undefined} */ retry;

  /** @param {string} text @returns {types.StreamEvent[]} the completed events */
  push(text) {
    if (this.#endsInCR) text = `\r${text}`;
    this.#endsInCR = text.endsWith("\r"); // perhaps the first half of a CRLF
    if (this.#endsInCR) text = text.slice(0, -1);
    const [first, ...lines] = text.split(/\r\n|\r|\n/);
    this.#line += first;
    const events = [];
    for (const next of lines) {
      const event = this.#take(this.#line);
      if (event) events.push(event);
      this.#line = next;
    }
    return events;
  }

  /** @param {string} line */
  #take(line) {
    if (!line) return this.#complete();
    const [, name, value] = /** @type {RegExpExecArray} */ (/^([^:]*)(?::\x20?)?([^]*)$/.exec(line));
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    else if (name === "id") this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }

  #complete() {
    const [type, data] = [this.#type || "message", this.#data];
    this.#type = "";
    this.#data = [];
    if (!data.length) return;
    try {
      return /** @type {types.StreamEvent} */ ({ id: this.#id, type, data: JSON.parse(data.join("\n")) });
    } catch {
      throw new StreamError(200, { code: "not_a_stream", message: "The server sent an event that is not JSON." });
    }
  }
}

class Backoff {
  first = FIRST_WAIT_MS;
  #failures = 0;

  reset() {
    this.#failures = 0;
  }

  /**
   * The next wait in ms: exponential, with jitter, and at least the server's Retry-After.
   *
   * @param {unknown} [error]
   */
  next(error) {
    const most = Math.min(this.first * 2 ** this.#failures++, Math.max(LONGEST_WAIT_MS, this.first));
    const least = error instanceof StreamError ? (error.retryAfter ?? 0) * 1000 : 0;
    return Math.max(most * (0.5 + Math.random() / 2), least);
  }
}

// One connection for all tabs of an origin…

/** @typedef {{ by: string, tab: string, id: string, after: number }} Want a stream, after this event number */
/** @typedef {{ id: string, status: number, error?: types.ErrorBody }} Status why a stream has no more events */
/** @typedef {Record<string, number>} Jumps gaps in the numbers: by event id, the number of the event before it */
/**
 * The messages between tabs. Every tab also receives its own.
 * @typedef {{ want?: Want, leave?: string, leader?: true, events?: types.StreamEvent[], jumps?: Jumps,
 *   state?: types.State, status?: Status, ping?: true, pong?: true }} Message
 */

/** @type {Map<string, Hub>} */
const hubs = new Map();

/** @param {string} name @param {string} base @param {types.FollowOptions} options */
function hubOf(name, base, options) {
  let hub = hubs.get(name);
  if (!hub) hubs.set(name, (hub = new Hub(name, base, options)));
  return hub;
}

/** Tabs share a connection only for equal headers, because other headers may belong to another user. */
/** @param {string} base @param {types.FollowOptions} options */
async function nameOf(base, { headers, credentials }) {
  if (!headers && !credentials) return `llm-stream ${base}`;
  const text = JSON.stringify([base, credentials, ...new Headers(headers)]);
  const hash = await crypto.subtle?.digest("SHA-256", new TextEncoder().encode(text)); // a lock's name must not contain secrets
  return `llm-stream ${hash ? new Uint8Array(hash).join("") : text}`;
}

/**
 * The streams of one blueprint that this tab follows. While this tab is the leader, it also reads the streams of the
 * other tabs. A hub lives as long as the tab follows any stream.
 */
class Hub {
  #name;
  #base;
  #options;
  #tab = newKey();
  /** @type {Set<Following>} */ #followings = new Set();
  #engaged = new AbortController();
  #isKnown = false;
  /** @type {BroadcastChannel | undefined} */ #channel;
  #heard = Date.now();

  #isLeading = false;
  /** @type {Map<string, Want>} */ #wants = new Map();
  /** @type {Map<string, number>} the last event read, by wanted stream */ #places = new Map();
  /** @type {string[]} */ #asked = [];
  /** @type {Line | undefined} */ #line;
  /** @type {() => void} */ #wake = () => {};

  /** @param {string} name @param {string} base @param {types.FollowOptions} options */
  constructor(name, base, { headers, credentials }) {
    this.#name = name;
    this.#base = base;
    this.#options = { headers, credentials };
    const { signal } = this.#engaged;
    if (globalThis.navigator?.locks && globalThis.BroadcastChannel) this.#share(signal);
    else this.#lead(signal, crowdOf(name, this.#tab, signal)); // each tab reads for itself
  }

  /**
   * @param {string} id
   * @param {types.FollowOptions} options
   * @returns {AsyncGenerator<types.StreamEvent, void, undefined>}
   */
  async *follow(id, options) {
    options.signal?.throwIfAborted();
    const following = new Following(id, options, (lost) => this.#want(lost));
    this.#followings.add(following);
    this.#want(following);
    try {
      yield* following.events();
    } finally {
      this.#followings.delete(following);
      this.#send({ leave: following.key });
      if (!this.#followings.size) {
        hubs.delete(this.#name);
        this.#engaged.abort();
      }
    }
  }

  /** @param {AbortSignal} signal */
  #share(signal) {
    const channel = (this.#channel = new BroadcastChannel(this.#name));
    const watch = setInterval(() => this.#watch(), PATIENCE_MS / 2);
    channel.onmessage = ({ data }) => {
      this.#heard = Date.now();
      this.#receive(data);
    };
    onAbort(signal, () => {
      clearInterval(watch);
      channel.close();
      this.#channel = undefined;
    });
    // the leader requests each tab's lock, and gets it as soon as the tab closes or crashes
    hold(`${this.#name} ${this.#tab}`, signal, () => {
      this.#isKnown = true;
      for (const following of this.#followings) this.#want(following);
      this.#stand(signal);
      return new Promise((resolve) => onAbort(signal, () => resolve(undefined)));
    }).then(() => {
      if (!this.#isKnown && !signal.aborted) this.#lead(signal); // a frame that may not hold locks
    });
  }

  /** Lead whenever this tab gets the lock, also after another tab took over. @param {AbortSignal} signal */
  async #stand(signal) {
    while (!signal.aborted) {
      const term = new AbortController();
      /** @type {Promise<void> | undefined} */
      let work;
      await hold(`${this.#name} leader`, signal, () => (work = this.#lead(AbortSignal.any([signal, term.signal]))));
      term.abort();
      await work;
    }
  }

  /** Ping a silent leader. If it is frozen or hangs, steal its lock. */
  #watch() {
    const silence = Date.now() - this.#heard;
    if (this.#isLeading || silence < PATIENCE_MS) return;
    if (silence < 2 * PATIENCE_MS) this.#send({ ping: true });
    else navigator.locks.request(`${this.#name} leader`, { steal: true }, () => {}).catch(() => {}); // the next tab gets it
  }

  /** @param {Following} following */
  #want({ key, id, last }) {
    if (this.#isKnown) this.#send({ want: { by: key, tab: this.#tab, id, after: last } });
  }

  /** @param {Message} message */
  #send(message) {
    this.#channel?.postMessage(message);
    this.#receive(message);
  }

  /** @param {Message} message */
  #receive({ want, leave, leader, events = [], jumps = {}, state, status, ping }) {
    if (this.#isLeading) {
      if (want) this.#takeIn(want);
      if (leave && this.#wants.delete(leave)) this.#dropUnwanted();
      if (ping) this.#send({ pong: true });
    }
    for (const following of this.#followings) {
      if (leader) this.#want(following);
      for (const event of events) following.take(event, jumps[event.id]);
      if (state) following.tell(state);
      if (status?.id === following.id) following.end(status);
    }
  }

  // As the leader…

  /** @param {AbortSignal} signal */
  async #lead(signal, isCrowded = () => false) {
    this.#isLeading = this.#isKnown = true;
    this.#wants.clear();
    this.#places.clear();
    this.#send({ leader: true }); // every tab replies with the streams that it wants
    const line = (this.#line = new Line(() => this.#request(), (state) => this.#send({ state }), signal));
    line.isCrowded = isCrowded;
    while (!signal.aborted) {
      if (this.#places.size) await this.#read(line, signal);
      else await new Promise((resolve) => onAbort(signal, (this.#wake = () => resolve(undefined))));
    }
    this.#isLeading = false;
  }

  /** @param {Line} line @param {AbortSignal} signal */
  async #read(line, signal) {
    /** @type {Omit<Status, "id">} */
    let ending = { status: 204 };
    try {
      for await (const events of line.batches()) {
        if (!line.isRenewed) this.#pass(events); // otherwise a jump would skip events that a tab has just requested
      }
    } catch (error) {
      if (signal.aborted) return;
      const { status, code, message, retryable, errorId } = /** @type {StreamError} */ (error);
      ending = { status, error: { code, message, retryable, error_id: errorId } };
    }
    for (const id of this.#asked) this.#finish({ id, ...ending });
  }

  /** A single stream has its own route; several share one. @returns {[string, RequestInit] | undefined} */
  #request() {
    const places = [...this.#places].slice(0, MOST_TOGETHER); // other streams wait until these end
    this.#asked = places.map(([id]) => id);
    if (!places.length) return;
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream", ...this.#options.headers };
    const last = places.map(([id, number]) => `${id}-${number}`);
    if (last.length > 1) return [`${this.#base}?after=${last.join("&after=")}`, init(this.#options, { headers })];
    if (places[0][1]) headers["Last-Event-ID"] = last[0];
    return [`${this.#base}/${places[0][0]}`, init(this.#options, { headers })];
  }

  /** @param {types.StreamEvent[]} read */
  #pass(read) {
    /** @type {Jumps} */
    const jumps = {};
    const events = read.filter((event) => {
      /** @type {{ type: string, data: any }} */
      const { type, data } = event;
      if (type === "status") this.#finish(data);
      const [id, number] = placeOf(event.id);
      const last = this.#places.get(id);
      if (last === undefined || number <= last) return false; // from an earlier connection
      if (number > last + 1) {
        if (!isOfLostWorker(event)) return false;
        jumps[event.id] = last;
      }
      if (event.type === "done") this.#places.delete(id);
      else this.#places.set(id, number);
      return true;
    });
    const isSharing = [...this.#wants.values()].some(({ tab }) => tab !== this.#tab);
    if (isSharing) this.#send({ events, jumps });
    else this.#receive({ events, jumps });
  }

  /** @param {Status} status */
  #finish(status) {
    this.#places.delete(status.id);
    this.#send({ status });
  }

  /** @param {Want} want */
  #takeIn(want) {
    const isNew = ![...this.#wants.values()].some(({ tab }) => tab === want.tab);
    this.#wants.set(want.by, want);
    if (isNew && want.tab !== this.#tab) {
      hold(`${this.#name} ${want.tab}`, this.#engaged.signal, async () => this.#forget(want.tab));
    }
    if (want.after >= (this.#places.get(want.id) ?? Infinity)) return; // the events are still to come
    this.#places.set(want.id, want.after);
    this.#line?.renew();
    this.#wake();
  }

  /** @param {string} tab that has closed */
  #forget(tab) {
    for (const want of this.#wants.values()) if (want.tab === tab) this.#wants.delete(want.by);
    this.#dropUnwanted();
  }

  /** Stop reading streams that no tab wants, so that the server can abandon them. */
  #dropUnwanted() {
    const wanted = new Set([...this.#wants.values()].map(({ id }) => id));
    const unwanted = [...this.#places.keys()].filter((id) => !wanted.has(id));
    for (const id of unwanted) this.#places.delete(id);
    if (unwanted.length) this.#line?.renew();
  }
}

/** One `for await` over a stream. */
class Following {
  key = newKey();
  #signal;
  #onLoss;
  #isLost = false;
  /** @type {types.StreamEvent[]} */ #queue = [];
  /** @type {Status | undefined} */ #ending;
  #wake = () => {};

  /** @param {string} id @param {types.FollowOptions} options @param {(lost: Following) => void} onLoss */
  constructor(id, options, onLoss) {
    this.id = id;
    const [of, number] = placeOf(options.after ?? "");
    this.last = of === id ? number : 0;
    this.#signal = options.signal;
    this.#onLoss = onLoss;
    this.tell = changesTo(options.onState);
    this.tell("connecting");
  }

  /** @param {types.StreamEvent} event @param {number} [before] the number of the previous event, if there is a gap */
  take(event, before) {
    const [id, number] = placeOf(event.id);
    if (id !== this.id || number <= this.last) return;
    if (this.last < (before ?? number - 1)) {
      if (!this.#isLost) this.#onLoss(this);
      this.#isLost = true;
      return;
    }
    this.#isLost = false;
    this.tell("open");
    this.last = number;
    this.#queue.push(event);
    this.#wake();
  }

  /** @param {Status} status */
  end(status) {
    this.#ending = status;
    this.#wake();
  }

  /** @returns {AsyncGenerator<types.StreamEvent, void, undefined>} */
  async *events() {
    const signal = this.#signal;
    if (signal) onAbort(signal, () => this.#wake());
    for (;;) {
      for (const event of this.#queue.splice(0)) {
        signal?.throwIfAborted();
        yield event;
        if (event.type === "done") return;
      }
      signal?.throwIfAborted();
      if (this.#ending?.status === 204) return;
      if (this.#ending) throw new StreamError(this.#ending.status, this.#ending.error);
      if (!this.#queue.length) await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
    }
  }
}

/**
 * Whether too many tabs follow streams for each to keep a connection. Without Web Locks, which need https, tabs cannot
 * elect a leader. Then each tab closes its connection after a turn, so that all tabs and the site itself get one.
 *
 * @param {string} name
 * @param {string} tab
 * @param {AbortSignal} signal
 */
function crowdOf(name, tab, signal) {
  if (!globalThis.BroadcastChannel) return () => false;
  const channel = new BroadcastChannel(name);
  const others = new Set();
  channel.onmessage = ({ data: { here, gone } }) => {
    if (here && !others.has(here)) channel.postMessage({ here: tab });
    if (here) others.add(here);
    others.delete(gone);
  };
  const leave = () => channel.postMessage({ gone: tab });
  channel.postMessage({ here: tab });
  globalThis.addEventListener?.("pagehide", leave);
  onAbort(signal, () => {
    leave();
    channel.close();
    globalThis.removeEventListener?.("pagehide", leave);
  });
  return () => others.size >= CROWD;
}

// Helpers…

/** @param {string} id @returns {[stream: string, number: number]} */
function placeOf(id) {
  const at = id.lastIndexOf("-");
  return [id.slice(0, at), Number(id.slice(at + 1))];
}

/**
 * Whether there may be a gap in the numbers before an event. Readers of a worker that died may have events that no other
 * worker has, so another worker ends the stream with much higher numbers.
 *
 * @param {types.StreamEvent} event
 */
function isOfLostWorker({ type, data }) {
  return type === "failure" && data.code === "worker_lost";
}

/** @param {string} url */
function absolute(url) {
  return globalThis.location ? new URL(url, location.href).href : url;
}

/** @param {types.FollowOptions["onState"]} [onState] @returns {(state: types.State) => void} */
function changesTo(onState) {
  /** @type {types.State | undefined} */
  let last;
  return (state) => {
    if (state === last) return;
    last = state;
    if (onState) queueMicrotask(() => onState(state)); // its exceptions must not count as a lost connection
  };
}

/** @param {types.FollowOptions} options @param {RequestInit} init */
function init({ signal, credentials }, init) {
  return { ...init, signal, ...(credentials && { credentials }) };
}

/** @param {Response} response */
async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new StreamError(response.status, body.error, secondsOf(response.headers.get("Retry-After")));
}

/** @param {string | null} retryAfter in seconds, or a date */
function secondsOf(retryAfter) {
  if (!retryAfter) return;
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return seconds > 0 ? seconds : undefined;
}

/**
 * Whether to retry: after a lost connection, and if a proxy or server before the blueprint is busy or down. The
 * blueprint's own refusals are permanent, unless it is overloaded or cannot reach its log or ledger for the moment.
 *
 * @param {unknown} error
 */
function isTransient(error) {
  if (!(error instanceof StreamError)) return true;
  if (error.code) return ["overloaded", "ledger_unavailable", "log_unavailable"].includes(error.code);
  return [408, 425, 429, 502, 503, 504].includes(error.status);
}

/** @param {unknown} error */
function statusOf(error) {
  return error instanceof StreamError ? error.status : undefined;
}

/** Wait; shorter if the network or the user comes back. @param {number} ms @param {AbortSignal} [signal] */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const end = (/** @type {() => void} */ settle) => () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", early);
      globalThis.document?.removeEventListener("visibilitychange", early);
      signal?.removeEventListener("abort", stopped);
      settle();
    };
    const early = () => globalThis.document?.visibilityState !== "hidden" && finished();
    const finished = end(() => resolve(undefined));
    const stopped = end(() => reject(signal?.reason));
    const timer = setTimeout(finished, ms);
    globalThis.addEventListener?.("online", early);
    globalThis.document?.addEventListener("visibilitychange", early);
    signal?.addEventListener("abort", stopped);
  });
}

/** @param {AbortSignal} signal @param {() => void} then */
function onAbort(signal, then) {
  if (signal.aborted) then();
  else signal.addEventListener("abort", then, { once: true });
}

/** Do work while holding a lock, unless `signal` aborts first. Also returns if another tab steals the lock. */
/** @param {string} name @param {AbortSignal} signal @param {() => Promise<unknown>} work */
async function hold(name, signal, work) {
  await navigator.locks.request(name, { signal }, work).catch(() => {});
}
