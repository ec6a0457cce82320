"""What `hive top` shows. Text of agents is never markup: every cell is a Text of plain words."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import DataTable, Footer, RichLog, Static

from .plain import line, plain
from .watching import LATE, Feed, Picture

# The page's colours, by the kind of a state.
COLOURS = {
    "ok": "#58e6a0",
    "idle": "#63c7ff",
    "think": "#ffbe5c",
    "you": "#ff79d6",
    "bad": "#ff7b7b",
    "off": "#8b98a6",
    "msg": "#b9a1ff",
}
DIM = "#93a4b5"
COLUMNS = ("agent", "state", "for", "context", "queued", "24 h", "memory", "what it does")
NEEDS = 6  # lines


class Top(App[None]):
    """`feed(show)` makes the feed that hands each picture to `show`, from its own thread."""

    TITLE = "hive top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "quit"),
        ("enter", "look", "log of the agent"),
        ("j", "down", "down"),
        ("k", "up", "up"),
    ]
    CSS = """
    Screen { background: #090c10; color: #d3dde8; }
    #bar { height: auto; max-height: 4; background: #0a0e13; }
    #need { height: auto; max-height: 8; padding: 0 1; border: round #ff79d6 40%; }
    #agents { height: 1fr; background: #0d1218; border: round #22303e; }
    #flow { height: 30%; min-height: 5; background: #0d1218; border: round #22303e; padding: 0 1; }
    #log { height: 1fr; background: #0d1218; border: round #22303e; padding: 0 1; }
    DataTable > .datatable--header { color: #93a4b5; background: #151d27; }
    DataTable > .datatable--cursor { background: #1b2a3a; }
    Footer { background: #0a0e13; }
    """

    def __init__(self, feed: Callable[[Callable[[Picture], None]], Feed]) -> None:
        super().__init__()
        self.picture = Picture()
        self._feed = feed(self._heard)
        self._thread = threading.Thread(target=self._feed.run, daemon=True)

    def compose(self) -> ComposeResult:
        yield Static(id="bar")
        with Vertical():
            yield Static(id="need")
            yield DataTable[Text](id="agents", cursor_type="row")
            yield RichLog(id="flow", wrap=True, auto_scroll=True, max_lines=500)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#need").border_title = "N33DS Y0U"
        self.query_one("#agents").border_title = "C0NTAINERS"
        self.query_one("#flow").border_title = "MSG FL0W"
        table = self.query_one(DataTable)
        for name in COLUMNS:
            table.add_column(name, key=name)
        table.focus()
        self.set_interval(1.0, self._draw_clocks)
        self._draw()
        self._thread.start()

    async def on_unmount(self) -> None:
        self._feed.end()
        await asyncio.to_thread(self._thread.join, 5)

    # -- keys --------------------------------------------------------------------------------

    def action_down(self) -> None:
        self.query_one(DataTable).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(DataTable).action_cursor_up()

    def action_look(self) -> None:
        """For who clicks on it in the footer: the table takes the key itself."""
        self.query_one(DataTable).action_select_cursor()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self._feed.watch(str(event.row_key.value))
        self.push_screen(AgentLog(str(event.row_key.value)), lambda _: self._feed.watch(None))

    # -- drawing -----------------------------------------------------------------------------

    def _heard(self, picture: Picture) -> None:
        if self.is_running:
            self.call_from_thread(self._take, picture)

    def _take(self, picture: Picture) -> None:
        old, self.picture = self.picture, picture
        same = (old.swarm, old.messages) == (picture.swarm, picture.messages)
        if isinstance(self.screen, AgentLog):
            self.screen.draw(picture)
        if same:
            self._draw_clocks()
        else:
            self._draw()

    def _draw(self) -> None:
        table = self._base(DataTable)
        agents = self.picture.swarm.get("agents", ())
        names = [agent["name"] for agent in agents]
        if [key.value for key in table.rows] != names:
            at = table.cursor_row
            table.clear()
            for agent in agents:
                table.add_row(*_row(agent), key=agent["name"])
            table.move_cursor(row=at)
        else:
            for agent in agents:
                for column, cell in zip(COLUMNS, _row(agent), strict=True):
                    table.update_cell(agent["name"], column, cell)
        flow = self._base(RichLog)
        flow.clear()
        for message in self.picture.messages:
            flow.write(_message(message))
        self._draw_clocks()

    def _draw_clocks(self) -> None:
        self._base_id("bar").update(_bar(self.picture))
        self._base_id("need").update(_needs(self.picture))
        table = self._base(DataTable)
        for agent in self.picture.swarm.get("agents", ()):
            if agent["name"] in table.rows:
                table.update_cell(agent["name"], "for", _age(agent["since"]))

    def _base(self, kind: type[Any]) -> Any:
        """On the first screen, whatever lies over it."""
        return self.screen_stack[0].query_one(kind)

    def _base_id(self, ident: str) -> Static:
        return self.screen_stack[0].query_one(f"#{ident}", Static)


class AgentLog(Screen[None]):
    """The newest events of one agent."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", "back"),
        ("q", "dismiss", "back"),
    ]

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._last = 0

    def compose(self) -> ComposeResult:
        yield Static(Text(f" ⬢ {self.name}", COLOURS["idle"]), id="bar")
        yield RichLog(id="log", wrap=True, auto_scroll=True, max_lines=2000)
        yield Footer()

    def draw(self, picture: Picture) -> None:
        if picture.name != self.name:
            return
        log = self.query_one(RichLog)
        for event in picture.events:
            if event["id"] > self._last:
                self._last = event["id"]
                log.write(_event(event))


def _bar(picture: Picture) -> Text:
    swarm = picture.swarm
    text = Text(" ⬢ HYPERH1VE ", f"bold {COLOURS['you']}")
    text.append(f" {line(swarm.get('runtime') or '')}  ", DIM)
    age = time.monotonic() - picture.heard if picture.heard is not None else None
    if age is None:
        text.append("◌ c0nnecting", COLOURS["off"])
    elif age < LATE:
        text.append(f"● L1VE {age:.0f}s", COLOURS["ok"])
    else:
        text.append(f"● ST4LE {age:.0f}s: all of this may be old", COLOURS["bad"])
    for name in sorted(swarm.get("away", ())):
        text.append(f"  ✕ the {name} is away", COLOURS["bad"])
    if picture.trouble:
        text.append(f"  ✕ {line(picture.trouble, 160)}", COLOURS["bad"])
    spent = [agent["spent"] for agent in swarm.get("agents", ()) if agent["spent"]]
    if spent:
        turns, usd = sum(s["turns"] for s in spent), sum(s["usd"] for s in spent)
        text.append(f"  24 h: {turns} turns · ${usd:.2f}", DIM)
    return text


def _needs(picture: Picture) -> Text:
    rows = picture.swarm.get("waiting", ())
    if not rows:
        known = bool(picture.swarm)
        return Text("✓ nothing needs you" if known else "…", COLOURS["ok"] if known else DIM)
    text = Text(no_wrap=True, overflow="ellipsis")
    for row in rows[:NEEDS]:
        text.append(f"{row['glyph']} ", COLOURS.get(row["kind"], DIM))
        text.append(line(row["title"]), "bold")
        if row["until"]:
            text.append(f"  {_span(row['until'] - time.time())} left", COLOURS["think"])
        text.append(f"  {line(row['words'])}\n", DIM)
    if len(rows) > NEEDS:
        text.append(f"{len(rows) - NEEDS} more", DIM)
    text.rstrip()
    return text


def _row(agent: dict[str, Any]) -> Sequence[Text]:
    colour = COLOURS.get(agent["kind"], DIM)
    spent = agent["spent"]
    filled = spent["context"] / spent["window"] if spent and spent["window"] else None
    return (
        Text(line(agent["name"]), "bold"),
        Text(f"{agent['glyph']} {line(agent['word'])}", colour),
        _age(agent["since"]),
        Text(
            "" if filled is None else f"{filled:.0%}", COLOURS["bad"] if (filled or 0) > 0.8 else ""
        ),
        Text(str(agent["queued"] or ""), justify="right"),
        Text(f"${spent['usd']:.2f}" if spent else "", justify="right"),
        Text(_size(agent["memory"]), justify="right"),
        Text(line(agent["detail"] or agent["description"], 120), DIM),
    )


def _message(message: dict[str, Any]) -> Text:
    text = Text(time.strftime("%H:%M:%S ", time.localtime(message["at"])), DIM)
    text.append(line(message["sender"]), COLOURS["msg"])
    text.append(" → ", DIM)
    text.append(f"{line(message['to'])}  ", COLOURS["msg"])
    return text.append(line(message["body"], 300))


def _event(event: dict[str, Any]) -> Text:
    data = event["data"]
    text = Text(time.strftime("%H:%M:%S ", time.localtime(event["at"])), DIM)
    if event["kind"] == "text":
        return text.append(plain(data.get("text", "")))
    text.append(f"{line(event['kind'])} ", COLOURS["think"])
    return text.append(line(json.dumps(data, ensure_ascii=False), 600), DIM)


def _age(since: float | None) -> Text:
    return Text("" if since is None else _span(time.time() - since), justify="right")


def _span(seconds: float) -> str:
    s = max(0, int(seconds))
    if s < 3600:
        return f"{s // 60}:{s % 60:02d}"
    return (
        f"{s // 3600}h {s % 3600 // 60:02d}" if s < 86400 else f"{s // 86400}d {s % 86400 // 3600}h"
    )


def _size(count: int | None) -> str:
    if not count:
        return ""
    return f"{count / (1 << 30):.1f}G" if count >= 1 << 30 else f"{count >> 20}M"
