import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from hive_wire.parse import MAX_TOML, SpecError, parse_agent, parse_hive, parse_settings
from hive_wire.spec import AgentSpec, Takes, parse_size, takes

AGENT = "agents/scout/agent.toml"


def problems(data: bytes, defaults=None) -> str:
    with pytest.raises(SpecError) as error:
        parse_agent(data, AGENT, defaults)
    return str(error.value)


def test_an_empty_file_is_an_agent_of_defaults():
    assert parse_agent(b"", AGENT) == AgentSpec()


def test_defaults_fill_in_table_by_table():
    spec = parse_agent(b'[limits]\nmemory = "3G"\n', AGENT, {"limits": {"cpus": 2.0}})
    assert (spec.limits.memory, spec.limits.cpus) == ("3G", 2.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'role = "agent"\nmodle = "x"\n',
            f"{AGENT}:2: modle: is no key here; did you mean 'model'?",
        ),
        (
            '[limits]\nmemry = "1G"\n',
            f"{AGENT}:2: limits.memry: is no key here; did you mean 'memory'?",
        ),
        ('[limits]\nmemory = "lots"\n', "is no size"),
        ('[network]\nmode = "open"\n', f"{AGENT}:2: network.mode: Input should be 'none'"),
        ('prompt = "../../etc/passwd"\n', "without '/'"),
        ('prompt = "agent.toml"\n', "names a text"),
        ('prompt = "agent.nix"\n', "names a text"),
        ('may_send_to = ["../x"]\n', "is no agent name"),
        ('uid = "me"\n', "the reconciler sets it"),
        ('description = "a\\u001bb"\n', "printable"),
        ("a = \n", f"{AGENT}:1: is not TOML"),
    ],
)
def test_what_is_wrong_and_where(text, said):
    assert said in problems(text.encode())


def test_all_problems_come_at_once():
    assert problems(b'state = "on"\nengine = "x"\n').count(AGENT) == 2


def test_odd_files_are_refused():
    assert "not UTF-8" in problems(b"role = \xff\n")
    assert "larger than" in problems(b"#" * (MAX_TOML + 1))
    assert "is not TOML" in problems(b"restarts = " + b"1" * 5000)


def test_files_that_would_take_minutes_are_refused_at_once():
    assert f"{AGENT}:2: has a key of a hundred parts" in problems(b"\na" + b".'b'" * 30_000)
    told = problems(b"".join(b"k%d = 1\n" % n for n in range(20_000)))
    assert told.count(AGENT) == 51
    assert told.endswith("19950 more problems")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_spec_or_a_spec_error(data):
    try:
        assert isinstance(parse_agent(data, AGENT), AgentSpec)
    except SpecError as error:
        assert error.problems


def test_hive_toml_with_defaults_and_templates():
    hive = parse_hive(
        b'schema = 1\n[defaults]\nengine = "rehearsal"\n[templates.worker]\nmodel = "m"\nprompt_text = "hi"\n'
    )
    assert hive.templates["worker"].agent == {"model": "m"}
    assert hive.templates["worker"].prompt_text == "hi"
    assert hive.policy.auto_approve == ("power",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "schema"),
        ("schema = 2\n", "schema"),
        ('schema = 1\n[defaults]\nrole = "manager"\n', "defaults.role: is set for each agent"),
        ("schema = 1\n[defaults]\nmodl = 1\n", "did you mean 'model'"),
        ('schema = 1\n[templates.w]\nstate = "on"\n', "templates.w.state"),
        ('schema = 1\n[policy]\nauto_approve = ["spawn"]\n', "policy.auto_approve"),
        ("schema = 1\n[policy]\nmax_usd_per_day = inf\n", "policy.max_usd_per_day"),
    ],
)
def test_a_bad_hive_toml_is_refused(text, said):
    with pytest.raises(SpecError) as error:
        parse_hive(text.encode())
    assert said in str(error.value)


def test_every_field_says_when_it_takes_effect():
    assert {field: takes(field) for field in AgentSpec.model_fields}["engine"] is Takes.RESTART
    assert takes("model") is Takes.NEXT_TURN
    assert takes("limits") is Takes.IN_PLACE


def test_sizes():
    assert parse_size("2G") == 2 << 30
    for bad in ("2", "0G", "G", "2GB", "-1G", "1e3G"):
        with pytest.raises(ValueError, match="is no size"):
            parse_size(bad)


def test_a_settings_file_of_any_model_gets_the_same_errors():
    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid")
        port: int = 0

    assert parse_settings(Settings, b"port = 7", "x.toml").port == 7
    with pytest.raises(SpecError, match=r"x\.toml:2: prot: is no key here; did you mean 'port'"):
        parse_settings(Settings, b"\nprot = 7", "x.toml")
