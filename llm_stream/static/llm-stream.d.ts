/** Types of llm-stream.js: the native wire's events, and the module's exports. */

export interface ErrorBody {
  code?: string;
  message?: string;
  retryable?: boolean;
  error_id?: string;
}

/** The body of `POST /streams`, with `prompt` or `messages`. */
export interface ChatRequest {
  prompt?: string;
  messages?: readonly object[];
  model?: string;
  temperature?: number;
  max_output_tokens?: number;
  tools?: readonly object[];
  /** The form of the answer, as in the chat completions API. */
  response_format?: ResponseFormat;
  /** Decisions about calls that wait for approval, by the id of the `approval` event. */
  approvals?: Record<string, boolean | { approved: boolean; reason?: string }>;
  /** Identifies this question; made by `newKey()`. */
  key?: string;
}

export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | {
      type: "json_schema";
      json_schema: { name: string; schema?: Record<string, unknown>; strict?: boolean; description?: string };
    };

export type Status =
  | "completed"
  | "incomplete"
  | "cancelled"
  | "abandoned"
  | "failed"
  | "timed_out"
  | "over_budget"
  | "interrupted";

export interface Start {
  id: string;
  model?: string;
  created: number;
}

export interface Text {
  text: string;
}

export interface ToolCallFragment {
  index: number;
  /** On the first fragment only. */
  id?: string;
  /** On the first fragment only. */
  name?: string;
  arguments: string;
  /** On the first fragment only: the tool runs on the server, so you must not run it. */
  server?: true;
  /** The provider's fields of the call. Send them back on the next turn. */
  opaque?: Record<string, unknown>;
}

/** A tool's result, which may be any JSON, or the error that was sent to the model. */
export interface Outcome {
  result?: unknown;
  error?: string;
}

/** The outcome of a tool that ran on the server. */
export interface ToolResult extends Outcome {
  /** The id of the call, which may belong to an earlier answer. */
  id: string;
  name: string;
}

/** A call waits for a decision. The next request sends it in `approvals`, under this `id`. */
export interface Approval {
  id: string;
  call_id: string;
  name: string;
}

/** A citation. `start` and `end` are the range of the step's text that it supports. */
export interface Source {
  url: string;
  title?: string;
  start?: number;
  end?: number;
}

/** An image or a document that belongs to the answer. */
export interface File {
  /** An https: or a data: URL. */
  url: string;
  media_type: string;
  name?: string;
}

/** The app's own JSON. Later data with the same `name` and `id` replaces it. */
export interface Data {
  name: string;
  data: unknown;
  id?: string;
  /** The data is not part of the answer. */
  transient?: true;
}

/** The JSON so far of an answer with a schema. A later `partial` replaces it; a `step` or a `reset` voids it. */
export interface Partial {
  value: unknown;
  /** The JSON is complete and matches the schema. */
  whole?: true;
}

/** The provider's fields of the message that ends here. Send them back on the next turn. */
export interface Opaque {
  fields?: Record<string, unknown>;
  /** The name under which the provider sent the reasoning. */
  reasoning?: string;
}

export interface Failure {
  code: string;
  message: string;
  retryable: boolean;
  error_id: string;
  retry_after?: number;
}

/** Unknown figures are absent. */
export interface Usage {
  input_tokens?: number;
  output_tokens?: number;
  cached_tokens?: number;
  reasoning_tokens?: number;
  source: "provider" | "partial" | "estimated" | "none" | "unknown";
  cost?: string;
  currency?: string;
}

export interface Done {
  status: Status;
  finish_reason?: string;
}

interface Event<Type extends string, Data> {
  /** `<stream>-<n>`, n = 1, 2, 3 … Only a `failure` with the code `worker_lost` may follow a gap in the numbers. */
  id: string;
  type: Type;
  data: Data;
}

export type StreamEvent =
  | Event<"start", Start>
  | Event<"delta", Text>
  | Event<"reasoning", Text>
  | Event<"refusal", Text>
  | Event<"tool_call", ToolCallFragment>
  | Event<"tool_result", ToolResult>
  | Event<"approval", Approval>
  | Event<"step", { number: number }>
  | Event<"source", Source>
  | Event<"file", File>
  | Event<"data", Data>
  | Event<"partial", Partial>
  | Event<"opaque", Opaque>
  | Event<"reset", { reason: string }>
  | Event<"failure", Failure>
  | Event<"usage", Usage>
  | Event<"done", Done>;

/** The state of the connection. */
export type State = "connecting" | "open" | "reconnecting";

export interface FollowOptions {
  /**
   * Stops reading; `follow()` then throws the signal's reason. The stream continues while others read it, or until its
   * grace ends: see `stop()`.
   */
  signal?: AbortSignal;
  headers?: Record<string, string>;
  credentials?: RequestCredentials;
  onState?: (state: State) => void;
  /** The id of the last event that the page already has. */
  after?: string;
  /** Makes `follow()` send a POST, for your own views. */
  body?: BodyInit;
  /**
   * Stops the stream when the user leaves the page. Off by default, because a reload also leaves the page: the server
   * waits `LLM_STREAM_DISCONNECT_GRACE_S` for a reader to reconnect before it stops an unread stream.
   */
  stopOnLeave?: boolean;
  /** False: a separate connection for this stream, not shared with other tabs. */
  share?: boolean;
}

export interface Stream extends AsyncIterable<StreamEvent> {
  readonly id: string;
  readonly url: string;
  /** Stops the stream for all readers and closes the connection to the upstream at once. */
  stop(): void;
}

export declare class StreamError extends Error {
  constructor(status: number, error?: ErrorBody, retryAfter?: number);
  readonly status: number;
  readonly code?: string;
  readonly retryable: boolean;
  readonly errorId?: string;
  /** In seconds. */
  readonly retryAfter?: number;
}

/** A call is open as long as it has neither a `result` nor an `error`. */
export interface ToolCall extends Outcome {
  index: number;
  id?: string;
  name?: string;
  arguments: string;
  /** The tool runs on the server. */
  server?: true;
  /** The id of the `approval` that the call waits for. */
  approval?: string;
  opaque?: Record<string, unknown>;
}

/** The output of one call of the model. */
export interface Step {
  /** From 1. */
  number: number;
  text: string;
  reasoning: string;
  refusal: string;
  toolCalls: ToolCall[];
  opaque?: Record<string, unknown>;
  /** The name of the provider's field for the reasoning. */
  reasoningField?: string;
}

/** A tool call in a message of a request. */
export interface MessageToolCall extends Outcome {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
  opaque?: Record<string, unknown>;
}

/** A message of a request, made of an answer. */
export interface AnswerMessage {
  role: "assistant";
  content: string | null;
  refusal?: string;
  tool_calls?: MessageToolCall[];
  opaque?: Record<string, unknown>;
}

/**
 * An answer, assembled from the events so far. A `reset` discards the content before it.
 *
 * All state is in plain fields: `Object.assign(new Answer(), JSON.parse(text))` restores an answer saved as JSON.
 */
export declare class Answer {
  id?: string;
  model?: string;
  status: Status | "running";
  finishReason?: string;
  text: string;
  reasoning: string;
  refusal: string;
  toolCalls: ToolCall[];
  /** Results of an earlier answer's calls. */
  results: ToolResult[];
  sources: Source[];
  files: File[];
  /** Without transient data. */
  data: Data[];
  approvals: Approval[];
  /** The JSON so far of an answer with a schema. */
  partial?: unknown;
  /** The JSON, once it is complete and matches the schema. */
  parsed?: unknown;
  /** The same text and tool calls, one step for each call of the model; at least one. */
  steps: Step[];
  failure?: Failure;
  usage?: Usage;
  take(event: StreamEvent): void;
  /** The answer as messages of a request. */
  readonly messages: AnswerMessage[];
  /** `messages` with this answer appended, and with its `results` in their earlier calls. `messages` is not changed. */
  appendTo(messages: readonly object[]): object[];
}

/** Start a stream. Read it with `for await`, or later with `follow(stream.url)`. */
export declare function start(prefix: string, request: ChatRequest, options?: FollowOptions): Promise<Stream>;

/** The events of a stream, each once and in order, across any number of connections. */
export declare function follow(url: string, options?: FollowOptions): AsyncGenerator<StreamEvent, void, undefined>;

/** Stop a stream. Closes the connection to the upstream at once. */
export declare function stop(url: string, options?: Pick<FollowOptions, "headers" | "credentials">): void;

/** A new key for a question. A repeated request with the same key gets the same answer, which is bought once. */
export declare function newKey(): string;
