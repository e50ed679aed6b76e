import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect, useMemo, useState } from "react";

const api = "/llm/ui/chat";

export function Chat({ id }) {
    const transport = useMemo(() => new DefaultChatTransport({ api }), []);
    const earlier = useMemo(() => JSON.parse(localStorage.getItem(id) ?? "[]"), [id]);
    const { messages, sendMessage, regenerate, status, error } = useChat({ id, messages: earlier, transport, resume: true });
    const [draft, setDraft] = useState("");
    const isWriting = status === "submitted" || status === "streaming";

    useEffect(() => {
        // do not save a partial answer: a reload resumes the answer from its start
        if (status !== "streaming") localStorage.setItem(id, JSON.stringify(messages));
    }, [id, messages, status]);

    // useChat's own stop() only closes the connection; the server then waits for the reader to reconnect
    const stop = () => fetch(`${api}/${encodeURIComponent(id)}/stop`, { method: "POST" });

    const send = (event) => {
        event.preventDefault();
        sendMessage({ text: draft });
        setDraft("");
    };

    return (
        <main data-status={status}>
            {messages.map((message) => <Message key={message.id} message={message} />)}
            {error && <p role="alert">{error.message} <button onClick={() => regenerate()}>Try again</button></p>}
            <form onSubmit={send}>
                <input aria-label="Message" value={draft} onChange={(event) => setDraft(event.target.value)} />
                {isWriting ? <button type="button" onClick={stop}>Stop</button> : <button>Send</button>}
            </form>
        </main>
    );
}

function Message({ message }) {
    const { usage } = message.metadata ?? {};
    return (
        <article className={message.role}>
            {message.parts.map((part, at) => {
                if (part.type === "text") return <p key={at}>{part.text}</p>;
                if (part.type === "reasoning") return <details key={at}><summary>Reasoning</summary>{part.text}</details>;
                return null;
            })}
            {usage?.cost && <small>{usage.outputTokens} tokens, {usage.cost} {usage.currency}</small>}
        </article>
    );
}
