// What the tests have the AI SDK do with a model of ours: its providers for OpenAI, by both APIs, and for those like it.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;

const MODEL = "gpt-4o-mini";

function modelOf(provider, url) {
    const options = { baseURL: `${url}/llm/v1`, apiKey: "sk-of-a-caller" };
    if (provider === "responses") return createOpenAI(options)(MODEL);  // its default
    if (provider === "chat") return createOpenAI(options).chat(MODEL);
    return createOpenAICompatible({ name: "flask", includeUsage: true, ...options })(MODEL);
}

/** A question with a tool that is called, and the model asked again, by the SDK itself. */
function question({ url, provider, options = {} }) {
    const called = [];
    const weather = tool({
        description: "The weather of a city.",
        inputSchema: z.object({ city: z.string() }),
        execute: async ({ city }) => { called.push(city); return "7 degrees"; },
    });
    const asked = { model: modelOf(provider, url), system: "Be brief.", prompt: "hi", tools: { weather }, maxRetries: 0 };
    return [{ ...asked, stopWhen: stepCountIs(5), providerOptions: { openai: options } }, called];
}

const numbers = (usage) => [usage.inputTokens, usage.outputTokens, usage.inputTokenDetails?.cacheReadTokens ?? 0];
/** Of tools that run on the server. */
const outputsOf = (parts) => parts.filter(({ type }) => type === "tool-result").map(({ output }) => output.output ?? output);

const failed = (error) => ({ name: error.name, status: error.statusCode ?? null });

const commands = {
    async generate(asked) {
        const [options, called] = question(asked);
        try {
            const { text, totalUsage, steps, finishReason, sources, reasoningText, content } = await generateText(options);
            const seen = { steps: steps.length, finishReason, reasoning: reasoningText ?? "" };
            return { text, called, usage: numbers(totalUsage), sources: sources.map(({ url }) => url), results: outputsOf(content), ...seen };
        } catch (error) {
            return { error: failed(error) };
        }
    },

    async stream(asked) {
        const [options, called] = question(asked);
        const seen = { text: "", pieces: [], reasoning: "", sources: [], results: [], error: null, called };
        const result = streamText({ ...options, onError() {} });
        for await (const part of result.fullStream) {
            if (part.type === "text-delta") { seen.pieces.push(part.text); seen.text += part.text; }
            if (part.type === "reasoning-delta") seen.reasoning += part.text;
            if (part.type === "tool-result" && part.providerExecuted) seen.results.push(part.output.output);
            if (part.type === "source") seen.sources.push(part.url);
            if (part.type === "error") seen.error = failed(part.error);
        }
        if (seen.error) return seen;
        return { ...seen, usage: numbers(await result.totalUsage), finishReason: await result.finishReason };
    },

    /** A call of the server's that needs approval: the next turn brings the decision. */
    async decide({ url, approved }) {
        const asked = { model: modelOf("responses", url), maxRetries: 0 };
        const messages = [{ role: "user", content: "hi" }];
        const first = await generateText({ ...asked, messages });
        const { approvalId, toolCall } = first.content.find(({ type }) => type === "tool-approval-request");
        const decision = { type: "tool-approval-response", approvalId, approved, providerExecuted: true };
        messages.push(...first.response.messages, { role: "tool", content: [decision] });
        const { text } = await generateText({ ...asked, messages });
        return { text, asked: [toolCall.toolName, toolCall.input] };
    },

    /** Leave after the first piece. */
    async stop(asked) {
        const leaving = new AbortController();
        const result = streamText({ ...question(asked)[0], abortSignal: leaving.signal, onError() {} });
        for await (const piece of result.textStream) {
            leaving.abort();
            return piece;
        }
    },

    /** The same question twice, with the same key. */
    async again({ url, provider, key }) {
        const asked = { model: modelOf(provider, url), prompt: "hi", headers: { "Idempotency-Key": key } };
        return [(await generateText(asked)).text, (await generateText(asked)).text];
    },

    async object({ url, provider }) {
        const schema = z.object({ degrees: z.number() });
        const { object, usage } = await generateObject({ model: modelOf(provider, url), prompt: "hi", schema });
        return { object, usage: numbers(usage) };
    },
};
