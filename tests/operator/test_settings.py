"""Every default in one place; a wrong value is one clear line."""

import pytest

from openeni_operator.settings import Settings, SettingsError, from_environment


def test_an_empty_environment_gives_the_defaults() -> None:
    assert from_environment({}) == Settings()


def test_values_are_taken_from_the_environment() -> None:
    given = {
        "OPENENI_WORKERS": "4",
        "OPENENI_RESYNC_SECONDS": "12.5",
        "OPENENI_LOG_LEVEL": "debug",
        "OPENENI_PROBE_PORT": "0",
        "OS_CLIENT_CONFIG_FILE": "/x/clouds.yaml",
    }
    found = from_environment(given)
    assert (found.workers, found.resync, found.log_level) == (4, 12.5, "DEBUG")
    assert (found.probe_port, found.clouds_file) == (0, "/x/clouds.yaml")


def test_our_own_name_of_the_clouds_file_wins() -> None:
    given = {"OPENENI_CLOUDS_FILE": "/a", "OS_CLIENT_CONFIG_FILE": "/b"}
    assert from_environment(given).clouds_file == "/a"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENENI_WORKERS", "0"),
        ("OPENENI_WORKERS", "2.5"),
        ("OPENENI_WORKERS", "many"),
        ("OPENENI_RESYNC_SECONDS", "1"),
        ("OPENENI_RESYNC_SECONDS", "nan"),
        ("OPENENI_LOG_LEVEL", "loud"),
        ("OPENENI_PROBE_PORT", "70000"),
        ("OPENENI_CLOUD_TIMEOUT_SECONDS", "-1"),
        ("OPENENI_CLOUD_WRITES_PER_SECOND", "0"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as told:
        from_environment({name: value})
    assert "\n" not in str(told.value)
