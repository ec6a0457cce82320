"""hive send, inbox, questions, answer, flow."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from hive_wire.pages import QUESTIONS
from hive_wire.paths import Layout

from ..client import CallFailed, Client
from ..plain import line, plain
from .common import ago, broker, host, me, print_json, print_submitted

PAGE = 100


def send(layout: Layout, options: argparse.Namespace) -> int:
    with broker(layout) as client:
        answer = client.call("send", to=options.to, body=options.text, by=me())
    print(f"sent to {options.to} as message {answer['id']}")
    return 0


def inbox(layout: Layout, options: argparse.Namespace) -> int:
    return _show(layout, options, "inbox")


def flow(layout: Layout, options: argparse.Namespace) -> int:
    return _show(layout, options, "messages")


def questions(layout: Layout, options: argparse.Namespace) -> int:
    with broker(layout) as client:
        found = _open(client)
    if options.json:
        print_json(found)
        return 0
    for question in found:
        print(f"{question['id']}  {question['agent']} asks ({ago(question['asked'])} ago):")
        print(_indent(question["text"]))
        if question["permission"] is not None:
            print(_indent(json.dumps(question["permission"]["input"], indent=2)))
        for number, option in enumerate(question["options"], 1):
            print(f"    [{number}] {line(option)}")
    if found:
        print("\nAnswer with: hive answer ID TEXT, or hive answer ID --choose N")
    else:
        print("no open questions")
    return 0


def answer(layout: Layout, options: argparse.Namespace) -> int:
    with broker(layout) as client:
        choices = _choices(client, options.id, options.choose) if options.choose else None
        if choices == ["always"]:
            _allow(layout, client, options.id)
        client.call("answer", id=options.id, by=me(), text=options.text, choices=choices)
    print(f"answered question {options.id}")
    return 0


def _allow(layout: Layout, client: Client, ident: int) -> None:
    """Propose the rule that a permission question shows."""
    question = _question(client, ident)
    permission = question.get("permission")
    if permission is None:
        return
    with host(layout) as reconciler:
        print_submitted(reconciler.call("allow", agent=question["agent"], rule=permission["rule"]))


def _open(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.whole(QUESTIONS, open=True)["questions"]
    return found


def _question(client: Client, ident: int) -> dict[str, Any]:
    """An open one, or one of the newest that ended."""
    found = [*_open(client), *client.call("questions", open=False, limit=500)["questions"]]
    question: dict[str, Any] | None = next((q for q in found if q["id"] == ident), None)
    if question is None:
        raise CallFailed(f"there is no question {ident}; hive questions lists the open ones")
    return question


def _choices(client: Client, ident: int, numbers: list[int]) -> list[str]:
    question = _question(client, ident)
    options = question["options"]
    wrong = [number for number in numbers if number > len(options)]
    if wrong:
        raise CallFailed(f"question {ident} has {len(options)} options, not {wrong[0]}")
    return [options[number - 1] for number in numbers]


def _show(layout: Layout, options: argparse.Namespace, method: str) -> int:
    with broker(layout) as client, broker(layout) as changes:
        if options.follow:
            changes.request("subscribe", {"after": None, "stream": False})
        last = 0
        for _ in _moments(changes, options.follow):
            for message in _after(client, method, last):
                last = max(last, message["id"])
                _print(message, options.json)
            sys.stdout.flush()
    return 0


def _moments(changes: Client, follow: bool) -> Iterator[None]:
    yield None
    while follow:
        changes.wait(None)
        yield None


def _after(client: Client, method: str, last: int) -> Iterator[dict[str, Any]]:
    """The messages that follow `last`; at first the newest page."""
    while True:
        page = client.call(method, after=last or None, limit=PAGE)["messages"]
        yield from page
        if not last or len(page) < PAGE:
            return
        last = max(message["id"] for message in page)


def _print(message: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(message)
        return
    at = time.strftime("%H:%M:%S", time.localtime(message["at"]))
    kind = "" if message["kind"] == "text" else f" ({line(message['kind'])})"
    print(f"{at} {line(message['sender'])} → {line(message['to'])}{kind}")
    print(_indent(message["body"]))


def _indent(text: str) -> str:
    return "\n".join(f"    {part}" for part in plain(text).splitlines())
