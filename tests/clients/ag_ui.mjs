// Agents of @ag-ui/client: each is opened under its thread's id, and asked about by it.
import { HttpAgent } from "@ag-ui/client";

const agents = new Map();

const warnings = [];
console.warn = (...what) => { warnings.push(what.join(" ")); };

class Run {
    constructor({ url, id, messages = [], tools = [], state = {} }) {
        this.agent = new HttpAgent({ url, threadId: id, initialMessages: messages, initialState: state });
        this.tools = tools;
    }

    start({ text, runId, toolCallId, resume }) {
        Object.assign(this, { events: [], error: null, outcome: null, pending: null, text: "" });
        warnings.length = 0;
        const said = toolCallId ? { role: "tool", toolCallId } : { role: "user" };
        if (text) this.agent.addMessage({ id: crypto.randomUUID(), content: text, ...said });
        this.running = this.agent.runAgent({ runId, tools: this.tools, resume }, {
            onEvent: ({ event }) => { this.events.push(event); },
            onTextMessageContentEvent: ({ event }) => { this.text += event.delta; },
            onRunFinishedEvent: ({ outcome, pendingToolCallIds }) => {
                Object.assign(this, { outcome, pending: pendingToolCallIds });
            },
            onRunErrorEvent: ({ event }) => { this.error = event; },
        }).catch((error) => { this.error = { message: error.message, status: error.status, payload: error.payload }; });
    }

    get shown() {
        const { events, error, outcome, pending, text, agent } = this;
        const { messages, state, pendingInterrupts: interrupts } = agent;
        return { events, error, outcome, pending, text, messages, state, interrupts, warnings };
    }
}

/** A run whose server answers with these pieces of bytes, given in base64. */
function replayed(pieces, options) {
    const run = new Run({ url: "http://localhost", id: "thread", ...options });
    run.agent.fetch = async () => new Response(new ReadableStream({
        start(controller) {
            for (const piece of pieces) controller.enqueue(new Uint8Array(Buffer.from(piece, "base64")));
            controller.close();
        },
    }));
    return run;
}

const commands = {
    async replay({ pieces, ...options }) {
        const run = replayed(pieces, options);
        run.start({ runId: "run" });
        await run.running;
        return run.shown;
    },
    async open(options) { agents.set(options.id, new Run(options)); },
    async start({ id, ...options }) { agents.get(id).start(options); },
    async ended({ id }) { await agents.get(id).running; return agents.get(id).shown; },
    async abort({ id }) { agents.get(id).agent.abortRun(); },
    async until({ id, text }) {
        while (agents.get(id).text !== text) await new Promise((resolve) => setTimeout(resolve, 5));
    },
};
