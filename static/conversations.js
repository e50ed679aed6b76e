/**
 * Keeps conversations in this browser. Each has entries of its own, so that tabs do not overwrite each other's: a head
 * (title, times, stamp) for the list, and the turns. A deleted conversation is only marked, and kept for a week.
 */
import { newKey } from "../llm/static/llm-stream.js";
import { names, read, remove, write } from "./kept.js";

const HEAD = "llm-stream.head.";
const TURNS = "llm-stream.turns.";
const OPEN = "llm-stream.open"; // for this tab only, so that a reload shows the same conversation
const WEEK_MS = 7 * 24 * 3600 * 1000;
const LONGEST_TITLE = 60;

export function newConversation() {
  return { id: newKey(), title: "", turns: [] };
}

/** The heads of all conversations, with their ids, the latest first. */
export function heads() {
  const all = names(HEAD).map((id) => ({ ...read(HEAD + id), id }));
  return all.filter(({ title, changed }) => title && changed).sort((one, other) => other.changed - one.changed);
}

/** The conversation; undefined if there is none, or if it is deleted. */
export function load(id) {
  const head = read(HEAD + id);
  const turns = read(TURNS + id);
  if (!head || head.deleted || !isReadable(turns)) return undefined;
  return { id, title: head.title, stamp: head.stamp, turns };
}

/** Whether another tab has written the conversation since this one read or wrote it. */
export function isStale({ id, stamp }) {
  return read(HEAD + id)?.stamp !== stamp;
}

/**
 * Store it over what is stored. Returns "kept"; "emptied" if deleted conversations had to go for that, because storage is
 * full; and "full" if that was not enough.
 */
export function save(conversation) {
  conversation.title ||= titleOf(conversation.turns);
  conversation.stamp = newKey();
  if (put(conversation)) return "kept";
  purge(Infinity);
  return put(conversation) ? "emptied" : "full";
}

/** Mark it as deleted; `restore()` undoes that. */
export function discard(id) {
  mark(id, { deleted: Date.now() });
}

export function restore(id) {
  mark(id, { deleted: undefined });
}

/** Keep the turns as they are now, among the deleted ones. Returns what `takeBack()` takes. */
export function setAside({ title, turns }) {
  const copy = { id: newKey(), title: `${title} (earlier version)`, turns, deleted: Date.now() };
  return save(copy) === "full" ? undefined : copy.id;
}

/** The turns that were set aside. They are no longer among the deleted ones. */
export function takeBack(id) {
  const turns = read(TURNS + id);
  forget(id);
  return turns;
}

/** Remove conversations for good that were deleted a week ago, or before `then`. */
export function purge(then = Date.now() - WEEK_MS) {
  for (const { id, deleted } of heads()) if (deleted < then) forget(id);
}

/** The id of the conversation that this tab shows. */
export function opened() {
  return read(OPEN, "sessionStorage");
}

export function setOpened(id) {
  write(OPEN, JSON.stringify(id), "sessionStorage");
}

/** Call `changed(id)` when another tab has written or deleted a conversation. */
export function watch(changed) {
  addEventListener("storage", ({ key, newValue }) => {
    if (key?.startsWith(HEAD)) changed(key.slice(HEAD.length), newValue);
  });
}

function put({ id, title, stamp, turns, deleted }) {
  const head = { title, stamp, changed: Date.now(), deleted };
  return write(TURNS + id, JSON.stringify(turns, withoutPictures)) && write(HEAD + id, head); // the head tells other tabs
}

function mark(id, change) {
  const head = read(HEAD + id);
  if (head) write(HEAD + id, { ...head, ...change, stamp: newKey() });
}

function forget(id) {
  remove(TURNS + id);
  remove(HEAD + id);
}

/** The storage holds some 5 MB, which is a few pictures. */
function withoutPictures(key, value) {
  return key === "url" && String(value).startsWith("data:") ? undefined : value;
}

/** Not if another version of this page wrote it in another form. */
function isReadable(turns) {
  return Array.isArray(turns) && turns.every(({ legs }) => Array.isArray(legs));
}

function titleOf([{ question, files } = {}]) {
  const text = (question || files?.[0]?.name || "").replace(/\s+/g, " ").trim();
  return text.length > LONGEST_TITLE ? `${text.slice(0, LONGEST_TITLE - 1)}…` : text;
}
