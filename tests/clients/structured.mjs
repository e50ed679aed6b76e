// What the tests have clients for Node do that ask for objects: the stock OpenAI client, the AI SDK with both providers.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, streamObject } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;

const Invoice = z.object({ number: z.number(), items: z.array(z.object({ name: z.string(), price: z.number() })) });
const messages = [{ role: "user", content: "hi" }];

function modelOf(provider, baseURL) {
    const options = { baseURL, apiKey: "sk-of-a-caller" };
    if (provider === "openai") return createOpenAI(options).chat("scripted");
    return createOpenAICompatible({ name: "flask", supportsStructuredOutputs: true, ...options })("scripted");
}

const caught = (error) => ({ name: error.name, text: error.text, reason: error.finishReason });

const commands = {
    async parse({ url }) {
        const client = new OpenAI({ baseURL: `${url}/llm/v1`, apiKey: "sk-of-a-caller" });
        const body = { model: "scripted", messages, response_format: zodResponseFormat(Invoice, "invoice") };
        const { message } = (await client.chat.completions.parse(body)).choices[0];
        return { parsed: message.parsed, refusal: message.refusal };
    },

    async stream({ url }) {
        const client = new OpenAI({ baseURL: `${url}/llm/v1`, apiKey: "sk-of-a-caller" });
        const body = { model: "scripted", messages, response_format: zodResponseFormat(Invoice, "invoice") };
        const partials = [];
        const stream = client.chat.completions.stream(body);
        stream.on("content.delta", ({ parsed }) => partials.push(structuredClone(parsed)));
        const { message } = (await stream.finalChatCompletion()).choices[0];
        return { parsed: message.parsed, partials };
    },

    async generateObject({ url, provider }) {
        const model = modelOf(provider, `${url}/llm/v1`);
        try {
            const { object, usage } = await generateObject({ model, messages, schema: Invoice, schemaName: "invoice" });
            return { object, outputTokens: usage.outputTokens };
        } catch (error) {
            return { error: caught(error) };
        }
    },

    async generateText({ url, provider }) {
        const model = modelOf(provider, `${url}/llm/v1`);
        const { output } = await generateText({ model, messages, output: Output.object({ schema: Invoice }) });
        return { object: output };
    },

    async streamObject({ url, provider }) {
        const model = modelOf(provider, `${url}/llm/v1`);
        const { partialObjectStream, object, finishReason } = streamObject({ model, messages, schema: Invoice });
        object.catch(() => {});
        const partials = [];
        for await (const partial of partialObjectStream) partials.push(structuredClone(partial));
        const outcome = await object.then((object) => ({ object }), (error) => ({ error: caught(error) }));
        return { partials, reason: await finishReason, ...outcome };
    },

    async streamList({ url, provider }) {
        const model = modelOf(provider, `${url}/llm/v1`);
        const schema = z.object({ name: z.string() });
        const { elementStream } = streamObject({ model, messages, output: "array", schema });
        return await Array.fromAsync(elementStream);
    },
};
