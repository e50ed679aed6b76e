// Reads a URL with the browser's EventSource, as a page would that knows nothing of us; `seen` has what it was told.
(url) => {
    window.seen = { text: "", reasoning: "", tools: {}, others: {}, ids: [], errors: 0 };
    window.source = new EventSource(url);
    const on = (type, take) => source.addEventListener(type, (event) => {
        seen.ids.push(Number(event.lastEventId.split("-")[1]));
        take(JSON.parse(event.data));
    });
    on("start", ({ id }) => { seen.id = id; });
    on("delta", ({ text }) => { seen.text += text; });
    on("reasoning", ({ text }) => { seen.reasoning += text; });
    on("tool_call", ({ index, id, name, arguments: more }) => {
        const call = (seen.tools[index] ??= { id, name, arguments: "" });
        call.arguments += more;
    });
    for (const type of ["tool_result", "step", "source", "data"]) on(type, (data) => { seen.others[type] = data; });
    on("failure", (failure) => { seen.failure = failure; });
    on("usage", (usage) => { seen.usage = usage; });
    on("done", ({ status }) => { seen.status = status; source.close(); });
    source.addEventListener("error", () => { seen.errors += 1; });
}
