"""The log that several workers share, in Redis or Valkey.

The worker that writes a stream keeps its log in memory and serves its own readers from there. Beside that:

- `shipper` copies each stream's events to the store, and pushes them to workers that follow. `copy` is what these have.
- `mirror` is another worker's stream: a log in memory that is filled from the store and by pushes.
- `inbox` delivers the `messages` between workers: follow, leave, stop, events. `questions` wait for an answer.
- `lease` says which workers are alive. `reaper` ends the streams of those that are not.
- `store` has the commands for streams, and `roster` those for workers. `keys` names the keys, `scripts` has scripts,
  and `entries` is how events are written. `engine` makes the round trips and knows whether Redis is there, over the
  connections of `client`.
- `worker` is this process with its two threads, and `log` what `Streams` talks to.
"""
