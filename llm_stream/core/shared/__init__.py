"""The log that several workers share, in Redis or Valkey.

The worker that writes a stream keeps its log in memory and serves its own readers from there. For other workers:

- `shipper` copies each stream's events to the store, and pushes them to the workers that follow the stream. `copy`
  tracks which events the store and those workers already have.
- `mirror` is another worker's stream: a log in memory that is filled from the store and by pushes.
- `inbox` delivers the `messages` between workers: follow, leave, stop, events. `questions` waits for the answers.
- `lease` knows which workers are alive. `reaper` ends the streams of dead workers.
- `store` has the commands for streams, and `roster` those for workers. `keys` names the keys, `scripts` has the Lua
  scripts, and `entries` encodes the events. `engine` makes the round trips over the connections of `client`, and knows
  whether Redis is available.
- `worker` is this process with its two threads. `log` is the interface that `Streams` uses.
"""
