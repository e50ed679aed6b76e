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
  /** Identifies this question; made by `newKey()`. */
  key?: string;
}

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
  /** `<stream>-<n>`, n = 1, 2, 3 … Only a `failure` with the code `worker_lost` leaves numbers out before it. */
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
  | Event<"reset", { reason: string }>
  | Event<"failure", Failure>
  | Event<"usage", Usage>
  | Event<"done", Done>;

/** The state of the connection. */
export type State = "connecting" | "open" | "reconnecting";

export interface FollowOptions {
  /** Stops reading; `follow()` then throws its reason. The stream goes on if others read it: see `stop()`. */
  signal?: AbortSignal;
  headers?: Record<string, string>;
  credentials?: RequestCredentials;
  onState?: (state: State) => void;
  /** The id of the last event that is already known. */
  after?: string;
  /** Makes `follow()` send a POST, for your own views. */
  body?: BodyInit;
  /**
   * Stops the stream when the page is left. Off by default, because a reload leaves the page too: the server waits
   * `LLM_STREAM_DISCONNECT_GRACE_S` for a reader to come back before it stops an unread stream.
   */
  stopOnLeave?: boolean;
  /** False: a separate connection for this stream, not shared with other tabs. */
  share?: boolean;
}

export interface Stream extends AsyncIterable<StreamEvent> {
  readonly id: string;
  readonly url: string;
  /** Closes the upstream at once, for all readers. */
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

export interface ToolCall {
  index: number;
  id?: string;
  name?: string;
  arguments: string;
}

/** An answer, assembled from the events so far. A `reset` discards the text and tool calls before it. */
export declare class Answer {
  id?: string;
  model?: string;
  status: Status | "running";
  finishReason?: string;
  text: string;
  reasoning: string;
  refusal: string;
  toolCalls: ToolCall[];
  failure?: Failure;
  usage?: Usage;
  take(event: StreamEvent): void;
}

/** Start a stream. Read it with `for await`, or later with `follow(stream.url)`. */
export declare function start(prefix: string, request: ChatRequest, options?: FollowOptions): Promise<Stream>;

/** The events of a stream, each once and in order, across any number of connections. */
export declare function follow(url: string, options?: FollowOptions): AsyncGenerator<StreamEvent, void, undefined>;

/** Stop a stream. Closes the upstream at once. */
export declare function stop(url: string, options?: Pick<FollowOptions, "headers" | "credentials">): void;

/** A new key for a question. Sending the question again with the same key finds the paid answer. */
export declare function newKey(): string;
