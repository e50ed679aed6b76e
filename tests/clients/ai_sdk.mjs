// The engine of useChat without React: each chat is opened under an id, and asked about by it.
import { AbstractChat, callCompletionApi, DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls } from "ai";

class State {
    status = "ready";
    error = undefined;
    constructor(messages) { this.messages = messages; }
    pushMessage = (message) => { this.messages = [...this.messages, message]; };
    popMessage = () => { this.messages = this.messages.slice(0, -1); };
    replaceMessage = (at, message) => { this.messages = this.messages.with(at, structuredClone(message)); };
    snapshot = (thing) => structuredClone(thing);
}

class Chat extends AbstractChat {
    running = Promise.resolve();
    toolCalls = [];
    data = [];
    requests = [];

    constructor({ id, api, messages = [], body, answers }) {
        super({
            id,
            state: new State(messages),
            transport: new DefaultChatTransport({
                api,
                body,
                fetch: (url, options) => {
                    this.requests.push({ url, method: options.method, body: options.body });
                    return fetch(url, options);
                },
            }),
            onToolCall: ({ toolCall }) => {
                this.toolCalls.push({ name: toolCall.toolName, input: toolCall.input });
                if (answers) this.addToolOutput({ tool: toolCall.toolName, toolCallId: toolCall.toolCallId, ...answers });
            },
            onData: (part) => { this.data.push(part); },
            onFinish: ({ finishReason }) => { this.finishReason = finishReason; },
            sendAutomaticallyWhen: answers && lastAssistantMessageIsCompleteWithToolCalls,
        });
    }

    get text() {
        return (this.lastMessage?.parts ?? []).filter((part) => part.type === "text").map((part) => part.text).join("");
    }

    get shown() {
        const { status, error, messages, finishReason, toolCalls, data, requests, text } = this;
        return { status, error: error?.message ?? null, messages, finishReason, toolCalls, data, requests, text };
    }
}

const chats = new Map();

/** A chat whose server answers with these pieces of bytes, given in base64. */
function replayed(pieces) {
    const chat = new Chat({ id: "replayed" });
    chat.transport.fetch = async () => new Response(new ReadableStream({
        start(controller) {
            for (const piece of pieces) controller.enqueue(new Uint8Array(Buffer.from(piece, "base64")));
            controller.close();
        },
    }));
    return chat;
}

const commands = {
    async open(options) { chats.set(options.id, new Chat(options)); },
    async send({ id, text, messageId }) { chats.get(id).running = chats.get(id).sendMessage({ text, messageId }); },
    async again({ id }) { chats.get(id).running = chats.get(id).sendMessage(); },
    async regenerate({ id }) { chats.get(id).running = chats.get(id).regenerate(); },
    async resume({ id }) { chats.get(id).running = chats.get(id).resumeStream(); },
    async replay({ pieces }) { const chat = replayed(pieces); await chat.sendMessage({ text: "hi" }); return chat.shown; },
    async complete({ api, prompt }) {  // what useCompletion calls
        const seen = { texts: [], error: null };
        seen.text = await callCompletionApi({
            api, prompt, headers: {}, body: {}, credentials: undefined, streamProtocol: "data",
            setCompletion: (text) => { seen.texts.push(text); },
            setLoading() {}, setAbortController() {},
            setError: (error) => { seen.error = error?.message ?? seen.error; },
        });
        return seen;
    },
    async decide({ id, question, approved, reason }) {  // of ai 6 and 7
        await chats.get(id).addToolApprovalResponse({ id: question, approved, reason });
        chats.get(id).running = chats.get(id).sendMessage();
    },
    async stop({ id }) { await chats.get(id).stop(); },
    async ended({ id }) { await chats.get(id).running; return chats.get(id).shown; },
    async until({ id, text }) {
        while (chats.get(id).text !== text) await new Promise((resolve) => setTimeout(resolve, 5));
    },
};
