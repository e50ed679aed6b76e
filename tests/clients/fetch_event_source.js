// Asks by @microsoft/fetch-event-source, as its own documentation does it; `seen` has what it was told.
([body, options = {}]) => import("/fetch-event-source/index").then(({ fetchEventSource }) => {
    window.seen = { text: "", reasoning: "", tools: {}, others: {}, ids: [], empty: 0, opened: 0 };
    window.controller = new AbortController();
    const take = {
        start: ({ id }) => { seen.id = id; },
        delta: ({ text }) => { seen.text += text; },
        reasoning: ({ text }) => { seen.reasoning += text; },
        tool_call: ({ index, id, name, arguments: more }) => {
            (seen.tools[index] ??= { id, name, arguments: "" }).arguments += more;
        },
        tool_result: (data) => { seen.others.tool_result = data; },
        step: (data) => { seen.others.step = data; },
        source: (data) => { seen.others.source = data; },
        data: (data) => { seen.others.data = data; },
        failure: (failure) => { seen.failure = failure; },
        usage: (usage) => { seen.usage = usage; },
        done: ({ status }) => { seen.status = status; controller.abort(); },
    };
    window.asking = fetchEventSource(options.url ?? "/llm/chat", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: controller.signal,
        openWhenHidden: Boolean(options.openWhenHidden),
        async onopen(response) {
            seen.opened += 1;
            if (!response.ok) throw Object.assign(new Error("refused"), { status: response.status });
        },
        onmessage({ id, event, data }) {
            if (!data) { seen.empty += 1; return; }  // a heartbeat
            seen.ids.push(Number(id.split("-")[1]));
            take[event](JSON.parse(data));
        },
        onerror(error) { if (error.status) throw error; },  // what the server refuses is not asked again
    }).then(() => { seen.isOver = true; }, (error) => { seen.isOver = true; seen.status = error.status; });
})
