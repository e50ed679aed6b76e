/** Types of llm-stream.js: the events of the native wire, and what the module exports. */

export interface ErrorBody {
  code?: string;
  message?: string;
  retryable?: boolean;
  error_id?: string;
}

/** What `POST /streams` takes: `prompt` or `messages`. */
export interface ChatRequest {
  prompt?: string;
  messages?: readonly object[];
  model?: string;
  temperature?: number;
  max_output_tokens?: number;
  tools?: readonly object[];
  /** A name for this question, made by `newKey()`. */
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

/** What is not known is absent. */
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
  /** `<stream>-<n>`, n = 1, 2, 3 … */
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

/** Of the connection. */
export type State = "connecting" | "open" | "reconnecting";

export interface FollowOptions {
  /** Stop reading; `follow()` then throws its reason. The stream itself goes on, if others read it: see `stop()`. */
  signal?: AbortSignal;
  headers?: Record<string, string>;
  credentials?: RequestCredentials;
  onState?: (state: State) => void;
  /** The id of the last event that is known already. */
  after?: string;
  /** Makes `follow()` ask by POST, for views of your own. */
  body?: BodyInit;
  /**
   * Stop the stream when the page goes. Off by default: a reload, and a walk to the next page and back, go too, and
   * the server waits for them (`LLM_STREAM_DISCONNECT_GRACE_S`) before it stops what nobody reads.
   */
  stopOnLeave?: boolean;
  /** Off: a connection for this stream alone, not shared with the other tabs. */
  share?: boolean;
}

export interface Stream extends AsyncIterable<StreamEvent> {
  readonly id: string;
  readonly url: string;
  /** The upstream is closed at once, for all who read it. */
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

/** A whole answer, as far as its events have come. A `reset` makes what was said before it void. */
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

/** Start a stream; read it by `for await`, or later by `follow(stream.url)`. */
export declare function start(prefix: string, request: ChatRequest, options?: FollowOptions): Promise<Stream>;

/** The events of a stream, each once and in order, across any number of connections. */
export declare function follow(url: string, options?: FollowOptions): AsyncGenerator<StreamEvent, void, undefined>;

/** Stop a stream; the upstream is closed at once. */
export declare function stop(url: string, options?: Pick<FollowOptions, "headers" | "credentials">): void;

/** A name for a question. Kept, and sent again with it, it finds the answer that was bought. */
export declare function newKey(): string;
