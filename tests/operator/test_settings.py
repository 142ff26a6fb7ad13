"""Settings are read from the environment; an invalid one is one clear line."""

import pytest

from openeni_operator.settings import OrphanMode, Settings, SettingsError, from_environment


def test_unset_and_blank_variables_mean_the_defaults() -> None:
    """A Helm chart renders an unset value as a blank one."""
    blank = {
        "OPENENI_CLOUDS_FILE": "",
        "OPENENI_WORKERS": " ",
        "OPENENI_RESYNC_SECONDS": "",
        "OPENENI_LOG_LEVEL": "",
        "OPENENI_ORPHANS": "",
        "OPENENI_CLOUD_READS_PER_SECOND": "",
        "OPENENI_METRICS": "",
    }
    assert from_environment(blank) == from_environment({}) == Settings()


def test_values_are_taken_from_the_environment() -> None:
    given = {
        "OPENENI_WORKERS": "4",
        "OPENENI_RESYNC_SECONDS": "12.5",
        "OPENENI_LOG_LEVEL": "debug",
        "OPENENI_ORPHANS": "delete",
        "OPENENI_PROBE_ADDRESS": "2001:db8::1",
        "OPENENI_PROBE_PORT": "0",
        "OS_CLIENT_CONFIG_FILE": "/x/clouds.yaml",
    }
    found = from_environment(given)
    assert (found.workers, found.resync, found.log_level) == (4, 12.5, "DEBUG")
    assert (str(found.probe_address), found.probe_port) == ("2001:db8::1", 0)
    assert found.clouds_file == "/x/clouds.yaml"
    assert found.orphans is OrphanMode.DELETE


@pytest.mark.parametrize(("value", "served"), [("true", True), ("False", False), ("", False)])
def test_metrics_are_served_if_they_are_asked_for(value: str, *, served: bool) -> None:
    assert from_environment({"OPENENI_METRICS": value}).metrics is served


def test_the_operators_own_variable_for_the_clouds_file_wins() -> None:
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
        ("OPENENI_ORPHANS", "true"),
        ("OPENENI_PROBE_PORT", "70000"),
        ("OPENENI_METRICS", "yes"),
        ("OPENENI_PROBE_ADDRESS", "localhost"),
        ("OPENENI_CLOUD_TIMEOUT_SECONDS", "-1"),
        ("OPENENI_CLOUD_WRITES_PER_SECOND", "0"),
    ],
)
def test_an_invalid_value_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as raised:
        from_environment({name: value})
    assert "\n" not in str(raised.value)


def test_higher_limits_of_a_cloud_bring_threads_that_can_use_them() -> None:
    assert from_environment({}).threads == 16
    raised = {
        "OPENENI_CLOUD_READS_PER_SECOND": "50",
        "OPENENI_CLOUD_WRITES_PER_SECOND": "20",
        "OPENENI_CLOUD_ATTACHES_PER_SECOND": "20",
    }
    assert from_environment(raised).threads == 45
    assert from_environment({**raised, "OPENENI_WORKERS": "60"}).threads == 60
    assert from_environment({"OPENENI_CLOUD_READS_PER_SECOND": "1000"}).threads == 64
