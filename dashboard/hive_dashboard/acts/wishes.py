"""What forms may ask for, checked before it goes anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hive_wire.names import EVERYONE, name_problem
from hive_wire.protocol import MAX_BODY


class BadForm(Exception):
    """What is wrong with a form, for a person."""


def _body(text: str) -> str:
    text = text.replace("\r\n", "\n")
    if not text.strip():
        raise ValueError("is empty: write something")
    if len(text.encode(errors="replace")) > MAX_BODY:
        raise ValueError(f"is over {MAX_BODY >> 10} KiB: put it in a file and name the file")
    return text


def _name(text: str) -> str:
    if problem := name_problem(text.strip()):
        raise ValueError(problem)
    return text.strip()


def _recipient(text: str) -> str:
    return EVERYONE if text.strip() == EVERYONE else _name(text)


def _empty_is_none(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


Body = Annotated[str, AfterValidator(_body)]
AgentName = Annotated[str, AfterValidator(_name)]
Optional_ = BeforeValidator(_empty_is_none)


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Approve(Wish):
    effect: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
    allow_prune: Annotated[Annotated[int, Field(ge=1, le=10_000)] | None, Optional_] = None
    looked: bool = False  # at what the card has no room for


class Deny(Wish):
    reason: Annotated[Body, Field(max_length=4000)]


class Reason(Wish):
    reason: Annotated[Annotated[str, Field(max_length=4000)], AfterValidator(str.strip)] = ""


class Spawn(Wish):
    name: AgentName
    description: Annotated[Annotated[str, Field(max_length=200)], AfterValidator(str.strip)] = ""
    template: Annotated[Annotated[str, Field(max_length=60)] | None, Optional_] = None
    prompt: Annotated[Body | None, Optional_] = None


class Send(Wish):
    to: Annotated[str, AfterValidator(_recipient)]
    body: Body
    in_reply_to: Annotated[int, Field(ge=1)] | None = None


class Prompt(Wish):
    body: Body


class Answer(Wish):
    text: Annotated[Body | None, Optional_] = None
    choice: tuple[Annotated[str, Field(max_length=4000)], ...] = ()


class Power(Wish):
    action: Literal["start", "stop", "restart"]


Commanded = Literal["cancel", "clear", "compact", "model", "new-session", "help"]
COMMANDS: tuple[str, ...] = get_args(Commanded)


class Command(Wish):
    command: Commanded
    argument: Annotated[Annotated[str, Field(max_length=200)] | None, Optional_] = None


class LoginCode(Wish):
    code: Annotated[Annotated[str, Field(min_length=1, max_length=2000)], AfterValidator(str.strip)]


class Dead(Wish):
    agent: Annotated[str, Field(max_length=60)]


class EndSession(Wish):
    session: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Purge(Wish):
    uid: Annotated[str, Field(pattern=r"^[a-z0-9]{12}$")]
    confirm: Annotated[Annotated[str, Field(max_length=60)], AfterValidator(str.strip)]


class Nothing(Wish):
    pass


W = TypeVar("W", bound=Wish)


def parse(model: type[W], fields: Mapping[str, list[str]]) -> W:
    """The wish in a form's fields. Raises BadForm."""
    values = {
        name: tuple(given) if name == "choice" else given[-1] for name, given in fields.items()
    }
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise BadForm(words(error)) from None


def words(error: ValidationError) -> str:
    """What is wrong, for a person."""
    return "; ".join(_words(e) for e in error.errors()[:3])


def _words(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "form"
    if error["type"] == "missing":
        return f"{where}: is missing"
    if error["type"] == "extra_forbidden":
        return f"{where[:60]}: is no field of this form"
    return f"{where}: {str(error['msg']).removeprefix('Value error, ')}"
