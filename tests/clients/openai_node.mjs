// What the tests have the stock OpenAI client for Node do.
import OpenAI from "openai";

let client;

const failed = (error) => ({
    name: error.constructor.name,
    status: error.status ?? null,
    code: error.code ?? null,
    type: error.type ?? null,
    param: error.param ?? null,
    body: error.error ?? null,
    requestID: error.requestID ?? null,
});

const commands = {
    async open({ url }) {
        client = new OpenAI({ baseURL: `${url}/llm/v1`, apiKey: "sk-of-a-caller" });
    },

    // All chunks of a stream, or as many as `stopAfter`, and the error that it ends with.
    async stream({ body, options = {}, stopAfter }) {
        const chunks = [];
        let error = null;
        try {
            const stream = await client.chat.completions.create({ ...body, stream: true }, options);
            for await (const chunk of stream) {
                chunks.push(chunk);
                if (chunks.length === stopAfter) break;
            }
        } catch (caught) {
            error = failed(caught);
        }
        return { chunks, error };
    },

    async create({ body, options = {} }) {
        try {
            const { data, request_id: requestID } = await client.chat.completions.create(body, options).withResponse();
            return { completion: data, requestID };
        } catch (caught) {
            return { error: failed(caught) };
        }
    },

    // The SDK's own loop: it calls the tool, and sends its answer back.
    async runTools({ body }) {
        const called = [];
        const weather = {
            name: "weather",
            parameters: { type: "object" },
            parse: JSON.parse,
            function: (args) => { called.push(args); return "7"; },
        };
        const tools = [{ type: "function", function: weather }];
        const runner = client.chat.completions.runTools({ ...body, tools, stream: true });
        return { content: await runner.finalContent(), called };
    },

    async models() {
        const ids = [];
        for await (const model of client.models.list()) ids.push(model.id);
        return ids;
    },
};
