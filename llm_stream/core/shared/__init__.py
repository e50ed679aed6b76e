"""The log that several workers share, in Redis or Valkey.

The worker that writes a stream keeps its log in memory and serves its own readers from there. Beside that:

- `shipper` copies each stream's events to the store (`store`), and pushes them to the workers whose readers follow.
- `mirror` is another worker's stream: a log in memory that is filled from the store and by pushes.
- `inbox` delivers the messages between workers: follow, leave, stop, events.
- `lease` says which workers are alive; `reaper` ends the streams of those that are not.
- `log` puts these together, and is what `Streams` talks to.
"""
