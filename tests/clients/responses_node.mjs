// What the tests have the stock OpenAI client for Node do with the Responses API.
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const MODEL = "gpt-4o-mini";
const clientAt = (url) => new OpenAI({ baseURL: `${url}/llm/v1`, apiKey: "sk-of-a-caller" });
const failed = ({ constructor, status, param }) => ({ name: constructor.name, status: status ?? null, param: param ?? null });

const textOf = (events) => events.map(({ type, delta }) => (type === "response.output_text.delta" ? delta : "")).join("");

/** All events, and the error that they end with. `events` is filled meanwhile. */
async function taken(stream, events = []) {
    try {
        for await (const event of await stream) events.push(event);
    } catch (error) {
        return { events, error: failed(error) };
    }
    return { events, error: null };
}

let begun, reading;

const commands = {
    async create({ url, body }) {
        try {
            const response = await clientAt(url).responses.create({ model: MODEL, input: "hi", ...body });
            return { response, text: response.output_text };
        } catch (error) {
            return { error: failed(error) };
        }
    },

    async stream({ url, body }) {
        return await taken(clientAt(url).responses.create({ model: MODEL, input: "hi", ...body, stream: true }));
    },

    async streamHelper({ url }) {
        const stream = clientAt(url).responses.stream({ model: MODEL, input: "hi" });
        const snapshots = [];
        stream.on("response.output_text.delta", ({ snapshot }) => snapshots.push(snapshot));
        return { text: (await stream.finalResponse()).output_text, snapshots };
    },

    async parse({ url }) {
        const format = zodTextFormat(z.object({ degrees: z.number() }), "weather");
        const response = await clientAt(url).responses.parse({ model: MODEL, input: "hi", text: { format } });
        return response.output_parsed;
    },

    async retrieve({ url, id }) {
        return await clientAt(url).responses.retrieve(id);
    },

    async retrieveStream({ url, id, after }) {
        return await taken(clientAt(url).responses.retrieve(id, { stream: true, starting_after: after }));
    },

    async streamHelperOf({ url, id }) {
        const stream = clientAt(url).responses.stream({ response_id: id, starting_after: 2 });
        return (await stream.finalResponse()).output_text;
    },

    async cancel({ url, id }) {
        return (await clientAt(url).responses.cancel(id)).status;
    },

    async remove({ url, id }) {
        const client = clientAt(url);
        await client.responses.delete(id);
        return await client.responses.retrieve(id).then(() => null, failed);
    },

    // A stream that goes on while the test does something else.
    async begin({ url, body }) {
        begun = [];
        reading = taken(clientAt(url).responses.create({ model: MODEL, input: "hi", ...body, stream: true }), begun);
    },
    async until({ text }) {
        while (textOf(begun) !== text) await new Promise((resolve) => setTimeout(resolve, 5));
    },
    async ended() { return await reading; },
};
