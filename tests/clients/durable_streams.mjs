// What the tests have the client of Durable Streams for Node do.
import { DurableStream, stream } from "@durable-streams/client";

const followed = new Map();

const commands = {
    // Follow a stream from an offset. The client reconnects by itself.
    async follow({ name, url, offset = "-1", live }) {
        const seen = { messages: [], offset, closed: false, error: null };
        followed.set(name, seen);
        const response = await stream({
            url,
            offset,
            live,
            sseResilience: { logWarnings: false },
            backoffOptions: { initialDelay: 50, maxDelay: 200, multiplier: 2 },
        });
        response.subscribeJson(async (batch) => {
            seen.messages.push(...batch.items);
            seen.offset = batch.offset;
            seen.closed = batch.streamClosed; // `response.closed` may resolve before the last batch is handed over
        });
        seen.cancel = () => response.cancel();
        response.closed.catch((error) => { seen.error = String(error); });
    },

    async seen({ name }) {
        const { cancel, ...seen } = followed.get(name);
        return { ...seen, isReading: cancel !== undefined };
    },

    async cancel({ name }) {
        followed.get(name).cancel();
    },

    async read({ url, offset = "-1" }) {
        const response = await stream({ url, offset, live: false });
        return { messages: await response.json(), offset: response.offset, closed: response.streamClosed };
    },

    async head({ url }) {
        const { contentType, offset, streamClosed } = await new DurableStream({ url, params: { offset: "-1" } }).head();
        return { contentType, offset, streamClosed };
    },

    async refused({ url, offset = "-1" }) {
        try {
            await stream({ url, offset, live: false });
        } catch (error) {
            return { status: error.status };
        }
    },
};
