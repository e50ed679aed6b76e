// A page that is written in TypeScript: this must compile, and what is marked must not.
import { Answer, StreamError, follow, newKey, start, stop } from "../../llm_stream/static/llm-stream.js";
import type { AnswerMessage, FollowOptions, State, StreamEvent, Usage } from "../../llm_stream/static/llm-stream.js";

const options: FollowOptions = {
  signal: new AbortController().signal,
  headers: { Authorization: "Bearer …" },
  onState: (state: State) => console.log(state),
  stopOnLeave: true,
};

function shown(event: StreamEvent): string {
  switch (event.type) {
    case "delta":
    case "reasoning":
    case "refusal":
      return event.data.text;
    case "tool_call":
      return `${event.data.name ?? ""}${event.data.arguments}`;
    case "tool_result":
      return event.data.error ?? JSON.stringify(event.data.result);
    case "approval":
      return `${event.data.name} ${event.data.call_id}`;
    case "partial":
      return event.data.whole ? JSON.stringify(event.data.value) : "";
    case "source":
    case "file":
      return event.data.url;
    case "failure":
      return event.data.message;
    case "usage":
      // @ts-expect-error: an event of usage has no text
      return event.data.text;
    case "done":
      // @ts-expect-error: that is no status
      return event.data.status === "finished" ? "" : event.data.status;
    default:
      return event.id;
  }
}

export async function ask(question: string): Promise<Usage | undefined> {
  const answer = new Answer();
  try {
    const stream = await start("/llm", { messages: [{ role: "user", content: question }], key: newKey() }, options);
    for await (const event of stream) {
      answer.take(event);
      console.log(shown(event), answer.text, answer.toolCalls[0]?.name);
    }
    for await (const { id } of follow(stream.url, { after: `${stream.id}-1` })) console.log(id);
    stop(stream.url);
    stream.stop();
  } catch (error) {
    if (error instanceof StreamError && error.retryable) console.log(error.status, error.code, error.retryAfter);
  }
  const messages: object[] = answer.appendTo([{ role: "user", content: question }]);
  const own: AnswerMessage | undefined = answer.messages[0];
  console.log(messages, own?.tool_calls?.[0]?.result, answer.steps[0]?.text, answer.data[0]?.name);
  const approvals = Object.fromEntries(answer.approvals.map(({ id }) => [id, { approved: false, reason: "No." }]));
  await start("/llm", { messages, approvals });
  const schema = { type: "object", properties: { city: { type: "string" } } };
  await start("/llm", { messages, response_format: { type: "json_schema", json_schema: { name: "city", schema } } });
  // @ts-expect-error: there is no such form
  await start("/llm", { messages, response_format: { type: "yaml" } });
  const invoice = answer.parsed as { total: number } | undefined;
  console.log(answer.partial, invoice?.total);
  // @ts-expect-error: a decision is yes or no
  await start("/llm", { messages, approvals: { token: "yes" } });
  // @ts-expect-error: a prompt is text
  await start("/llm", { prompt: 5 });
  return answer.usage;
}
