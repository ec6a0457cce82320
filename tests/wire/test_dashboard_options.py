"""What `hive up` takes for the dashboard arrives there as it was given."""

import argparse

import pytest

from hive_wire.dashboard_options import add_options, arguments, contradiction


def parsed(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--port", "0", "--host", "::1"),
        ("--allowed-host", "hive.example.org", "--allowed-host", "Box", "--base-path", "hive/"),
        ("--proxy", "192.0.2.0/24", "--proxy", "::1", "--proxy-user-header", "Remote-User"),
    ],
)
def test_what_is_passed_on_says_the_same(words):
    given = parsed(*words)
    assert contradiction(given) is None
    assert parsed(*arguments(given)) == given


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--allowed-host", "https://hive.example.org"), "without https:// and without a port"),
        (("--allowed-host", "hive.example.org:443"), "without https:// and without a port"),
        (("--base-path", "/hive?x"), "no path such as /hive"),
        (("--proxy", "192.0.2.7/24"), "has host bits set"),
        (("--proxy", "proxy.example.org"), "no address or network"),
        (("--proxy-user-header", "Remote User"), "no name of a header"),
        (("--port", "65536"), "no port"),
    ],
)
def test_what_could_never_match_is_refused(words, why):
    with pytest.raises(argparse.ArgumentError, match=why):
        parsed(*words)


@pytest.mark.parametrize("words", [("--proxy", "::1"), ("--proxy-user-header", "Remote-User")])
def test_a_header_needs_who_may_send_it(words):
    assert "need each other" in contradiction(parsed(*words))
