/** The conversation that is shown: its turns, and the answer that is being read. */
import { stop } from "../llm/static/llm-stream.js";
import { answer, decide, goOn, newTurn, textOf } from "./answering.js";
import * as kept from "./conversations.js";
import { ending } from "./footing.js";
import { messagesFor } from "./history.js";
import { TurnView } from "./turn.js";

const PATIENCE_MS = 60_000; // with another tab that sends its question

export class Talk {
  conversation = kept.newConversation();
  #views = [];
  #running = null; // the reading of an answer
  #page;

  /**
   * `page` has `element`, `scroll`, `announcer`, `mostBytes` and `model()`, and is told by `changed()`, `focus()`,
   * `setAside()` and `short()`, of storage.
   */
  constructor(page) {
    this.#page = page;
  }

  get isRunning() {
    return this.#running !== null;
  }

  /** Show a conversation; what the turns of the one before have in common with it stays. */
  open(conversation) {
    const { turns } = conversation;
    const isSame = ({ turn }, at) => turn.key === turns[at]?.key && turn.status === turns[at].status && turn.status;
    const differs = this.#views.findIndex((view, at) => !isSame(view, at));
    const same = differs < 0 ? this.#views.length : differs;
    for (const gone of this.#views.splice(same)) gone.element.remove();
    for (const [at, { turn }] of this.#views.entries()) turns[at] = turn; // which may still have its pictures
    this.conversation = conversation;
    for (const turn of turns.slice(same)) this.#show(turn);
    kept.setOpened(conversation.id);
    this.#page.changed();
  }

  /** Go on with an answer that was being read: by this tab before a reload, or by another tab. */
  resume(isOurs) {
    const view = this.#views.at(-1);
    if (!view || view.turn.status) return;
    if (isOurs || view.turn.url) {
      view.turn.state = "reconnecting";
      this.#read(view, isOurs);
    } else if (Date.now() - view.turn.asked > PATIENCE_MS) {
      Object.assign(view.turn, { status: "failed", message: "The question was not sent.", retryable: true });
      view.change();
    }
  }

  ask(question, files = []) {
    if (this.conversation.stamp && kept.isStale(this.conversation)) this.sync();
    const turn = newTurn(question, files, this.#page.model());
    this.conversation.turns.push(turn);
    this.keep();
    const view = this.#show(turn);
    this.#page.scroll.toEnd();
    this.#read(view, true);
  }

  /** Replace an earlier turn, and set those after it aside. */
  #askFrom(view, question) {
    this.leave();
    const { turns } = this.conversation;
    const at = this.#views.indexOf(view);
    const gone = turns.slice(at);
    const aside = gone.some(textOf) ? kept.setAside(this.conversation) : undefined;
    for (const { element } of this.#views.splice(at)) element.remove();
    turns.length = at;
    this.ask(question, view.turn.files);
    this.#page.focus(); // the focused element was removed
    if (aside) this.#page.setAside(aside, gone.length);
  }

  /** Decisions that could not be sent are sent again. In all other cases the question is asked anew. */
  #again(view) {
    const { turn } = view;
    if (turn.retryable && turn.approvals && turn.leg === turn.legs.length) this.#goOn(view, turn.approvals);
    else this.#askFrom(view, turn.question);
  }

  /** Let the turns be those that were set aside; the ones that took their place are set aside now. */
  takeBack(aside) {
    const turns = kept.takeBack(aside);
    if (!turns) return;
    this.leave();
    if (this.conversation.turns.some(textOf)) kept.setAside(this.conversation);
    this.conversation = { ...this.conversation, turns };
    this.keep();
    this.open(this.conversation);
  }

  #decide(view, token, isAllowed) {
    const approvals = decide(view.turn, token, isAllowed);
    this.keep();
    view.change();
    if (approvals) this.#goOn(view, approvals);
    else view.focusApproval();
  }

  #goOn(view, approvals) {
    this.#page.focus(); // the button is gone
    goOn(view.turn, approvals);
    this.keep();
    this.#read(view, true);
  }

  #show(turn) {
    const view = new TurnView(turn, {
      drawn: () => this.#page.scroll.grown(),
      edit: (from, question) => this.#askFrom(from, question),
      again: (from) => this.#again(from),
      decide: (of, token, isAllowed) => this.#decide(of, token, isAllowed),
    });
    this.#views.push(view);
    this.#page.element.append(view.element);
    return view;
  }

  async #read(view, isOurs) {
    const { turn } = view;
    const { announcer, mostBytes } = this.#page;
    const reading = { view, isOurs, giveUp: new AbortController(), isStopped: false };
    this.#running = reading;
    announcer.hush();
    this.#page.changed();
    await answer(turn, {
      messages: () => messagesFor(this.conversation.turns, turn, mostBytes),
      signal: reading.giveUp.signal,
      changed: () => {
        view.change();
        if (!turn.status) announcer.follow(() => textOf(turn));
      },
      save: () => this.#running === reading && isOurs && this.keep(),
    });
    if (this.#running !== reading) return; // another turn replaced it
    this.#running = null;
    this.keep();
    view.change();
    this.#page.changed();
    announcer.end(textOf(turn), ending(turn) || "The answer is complete.");
  }

  /** Stop, and wait for the usage. The second time, and before there is a URL, do not wait. */
  halt() {
    const { view, giveUp, isStopped } = this.#running;
    const { url } = view.turn;
    if (url) stop(url);
    if (!url || isStopped) giveUp.abort(); // if a stream was started anyway, the server abandons it
    this.#running.isStopped = true;
  }

  /** Stop without waiting for the usage. An answer that another tab has asked for goes on there. */
  leave() {
    if (!this.#running) return;
    const { view, isOurs } = this.#running;
    if (isOurs && view.turn.url) stop(view.turn.url);
    this.#drop();
    if (!isOurs) return;
    view.turn.status = "cancelled";
    this.keep();
  }

  #drop() {
    this.#running?.giveUp.abort();
    this.#running = null;
    this.#page.announcer.hush();
    this.#page.changed();
  }

  /** Store the conversation, unless another tab has changed it meanwhile. */
  keep() {
    if (!this.conversation.turns.length || kept.isStale(this.conversation)) return;
    const outcome = kept.save(this.conversation);
    if (outcome !== "kept") this.#page.short(outcome);
    this.#page.changed();
  }

  /** Another tab has written this conversation. Returns whether it is still there. */
  sync() {
    const stored = kept.load(this.conversation.id);
    if (!stored) return false;
    const running = this.#running?.view.turn;
    const isSame = stored.turns.length === this.conversation.turns.length && stored.turns.at(-1)?.key === running?.key;
    if (running && isSame) this.conversation.stamp = stored.stamp;
    else {
      this.#drop();
      this.open(stored);
      this.resume(false);
    }
    return true;
  }
}
