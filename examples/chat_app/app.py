"""A chat for users who log in. A database has their conversations, and each user has a budget. See README.md."""

import uuid
from typing import Any

import click
import flask_login
from flask import Flask
from flask import abort
from flask import redirect
from flask import render_template
from flask import request
from flask import url_for
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped
from werkzeug import security

from llm_stream import Answer
from llm_stream import LLMStream
from llm_stream import stream_started

SYSTEM = {"role": "system", "content": "You answer in the language of the question, briefly and in plain words."}

app = Flask(__name__)
app.config.update(
    SQLALCHEMY_DATABASE_URI="sqlite:///chat.db",  # in the folder `instance`
    SESSION_COOKIE_SAMESITE="Lax",  # browsers send other sites' forms without the cookie, so they cannot act for a user
    LLM_STREAM_LEDGER_URL=f"sqlite:///{app.instance_path}/chat_usage.db",
    LLM_STREAM_STATUS_HOLD_S=0,  # the page gets the answer's id at once, so Stop works while the model still thinks
)
app.config.from_prefixed_env()  # FLASK_SECRET_KEY, and any setting to override
db = SQLAlchemy(app)
logins = flask_login.LoginManager(app)
logins.login_view = "log_in"
logins.user_loader(lambda user_id: db.session.get(User, int(user_id)))
llm = LLMStream("llm", __name__, model="gpt-4o-mini")
llm.authorize(lambda: flask_login.current_user.get_id())  # None if the user is not logged in: the response is 401
llm.authorize_usage(lambda: flask_login.current_user.get_id())  # users see their own spending


class User(flask_login.UserMixin, db.Model):
    id: Mapped[int] = db.mapped_column(primary_key=True)
    name: Mapped[str] = db.mapped_column(unique=True)
    password_hash: Mapped[str]
    dollars_a_day: Mapped[str]


class Conversation(db.Model):
    id: Mapped[uuid.UUID] = db.mapped_column(primary_key=True)
    user_id: Mapped[int] = db.mapped_column(db.ForeignKey("user.id"), index=True)
    title: Mapped[str]
    turns: Mapped[list["Turn"]] = db.relationship(order_by="Turn.id")


class Turn(db.Model):
    id: Mapped[int] = db.mapped_column(primary_key=True)
    conversation_id: Mapped[uuid.UUID] = db.mapped_column(db.ForeignKey("conversation.id"), index=True)
    key: Mapped[str] = db.mapped_column(unique=True)
    question: Mapped[str]
    # `running` from the start of the answer, then the final status of its usage record
    status: Mapped[str] = db.mapped_column(default="refused")
    stream_id: Mapped[str | None] = db.mapped_column(unique=True)
    text: Mapped[str] = db.mapped_column(default="")
    messages: Mapped[list[Any]] = db.mapped_column(db.JSON, default=list)
    tokens: Mapped[int | None]
    cost: Mapped[str | None]

    @property
    def asked(self) -> dict[str, Any]:
        return {"role": "user", "content": self.question}


@llm.budget
def budget(user_id: str) -> dict[str, str]:
    return {"day": db.session.get_one(User, int(user_id)).dollars_a_day, "currency": "USD"}


@stream_started.connect_via(app)
def mark_as_running(_: Flask, id: str, metadata: dict[str, Any], **stream: Any) -> None:
    if turn := db.session.get(Turn, metadata.get("turn", 0)):
        turn.stream_id, turn.status = id, "running"
        db.session.commit()


@llm.on_answer
def keep(answer: Answer) -> None:
    turn = db.session.scalar(db.select(Turn).filter_by(stream_id=answer.id))
    if turn and (record := answer.record):
        turn.status, turn.text, turn.messages = answer.status, answer.text, answer.messages
        turn.tokens, turn.cost = record.output_tokens, f"{record.cost} {record.currency}" if record.cost else None
        db.session.commit()


@app.post("/conversations/<uuid:id>/ask")
@flask_login.login_required
def ask(id: uuid.UUID) -> Any:
    conversation, key = own_conversation(id), request.args["key"]
    turn = next((turn for turn in conversation.turns if turn.key == key), None)
    if turn is None:  # otherwise the page repeats a request whose connection was lost
        turn = Turn(key=key, question=request.form["question"])
        conversation.turns.append(turn)
        conversation.title = conversation.title or turn.question[:60]
        db.session.add(conversation)
        db.session.commit()
    answered = [earlier for earlier in conversation.turns if earlier.id < turn.id and earlier.messages]
    history = [message for earlier in answered for message in (earlier.asked, *earlier.messages)]
    return llm.respond(messages=[SYSTEM, *history, turn.asked], metadata={"turn": turn.id}, key=key)


@app.get("/")
@app.get("/conversations/<uuid:id>")
@flask_login.login_required
def show(id: uuid.UUID | None = None) -> str:
    own = db.select(Conversation).filter_by(user_id=flask_login.current_user.id).join(Turn).group_by(Conversation.id)
    newest_first = db.session.scalars(own.order_by(db.func.max(Turn.id).desc())).all()
    return render_template("chat.html", conversation=own_conversation(id or uuid.uuid4()), conversations=newest_first)


def own_conversation(id: uuid.UUID) -> Conversation:
    conversation = db.session.get(Conversation, id) or Conversation(id=id, user_id=flask_login.current_user.id)
    return conversation if conversation.user_id == flask_login.current_user.id else abort(404)


@app.route("/login", methods=["GET", "POST"])
def log_in() -> Any:
    user = db.session.scalar(db.select(User).filter_by(name=request.form.get("name")))
    if user and security.check_password_hash(user.password_hash, request.form["password"]):
        flask_login.login_user(user)
        return redirect(url_for("show"))
    return render_template("login.html", failed=request.method == "POST")


@app.post("/logout")
def log_out() -> Any:
    flask_login.logout_user()
    return redirect(url_for("log_in"))


@app.cli.command("add-user")
@click.argument("name")
@click.password_option()
@click.option("--dollars", default="1", help="The user's budget per day.", show_default=True)
def add_user(name: str, password: str, dollars: str) -> None:
    db.create_all()
    db.session.add(User(name=name, password_hash=security.generate_password_hash(password), dollars_a_day=dollars))
    db.session.commit()


app.register_blueprint(llm, url_prefix="/llm")
