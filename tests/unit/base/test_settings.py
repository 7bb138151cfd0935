"""Settings: where values come from, what is refused, and that secrets do not show."""

from pathlib import Path

import pytest

from baas.base.settings import SETTINGS, BadSettings, Loaded, Secret, Settings, load_settings, shown
from baas.base.settings_reference import page

GOOD_SECRET = "k7Qm2ZtR9vWx4Lp8Nf3Hs6Jd1Gb5Yc0A"


def load(flags=None, environ=None, text=None, files=None, **defaults) -> Loaded:
    def read(path: str) -> str:
        try:
            return (files or {})[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return load_settings(flags or {}, environ or {}, text, read=read, defaults=defaults)


def faults(**given) -> tuple[str, ...]:
    with pytest.raises(BadSettings) as caught:
        load(**given)
    return caught.value.faults


def test_a_flag_wins_over_the_environment_and_that_over_the_file():
    """Each name has the value of its weightiest source, and says which one that was."""
    text = "port = 1\nworkers = 2\nlog_level = 'error'"
    loaded = load({"port": 3, "workers": None}, {"BAAS_PORT": "2", "BAAS_WORKERS": "4"}, text, db_pool_size=7)

    assert (loaded.settings.port, loaded.origins["port"]) == (3, "flag --port")
    assert (loaded.settings.workers, loaded.origins["workers"]) == (4, "environment BAAS_WORKERS")
    assert (loaded.settings.log_level, loaded.origins["log_level"]) == ("error", "settings file")
    assert (loaded.settings.db_pool_size, loaded.origins["db_pool_size"]) == (7, "default")
    assert set(SETTINGS) == set(loaded.origins)


def test_values_are_typed():
    """Lists, numbers, truth, sizes and paths come from text."""
    settings = load(
        environ={
            "BAAS_HOSTS": "a.example, b.example",
            "BAAS_QUEUE_WAIT_S": "0.5",
            "BAAS_INSECURE_HTTP": "yes",
            "BAAS_MAX_FILE_BYTES": "2 GiB",
            "BAAS_DATA_DIR": "/srv/x",
            "BAAS_TRUSTED_PROXIES": "10.0.0.0/8,::1",
        }
    ).settings

    assert settings.hosts == ("a.example", "b.example")
    assert (settings.queue_wait_s, settings.insecure_http, settings.max_file_bytes) == (0.5, True, 2 * 1024**3)
    assert Path("/srv/x") == settings.data_dir
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")


def test_everything_wrong_is_said_at_once():
    """One start shows all faults, each with its origin."""
    found = faults(
        flags={"workers": 0},
        environ={"BAAS_PORT": "http", "BAAS_LOG_LEVEL": "loud", "BAAS_HSOT": "x", "BAAS_TRUSTED_PROXIES": "proxy"},
        text="prot = 1\nmax_json_depth = 1.5",
    )

    assert len(found) == 7
    text = "\n".join(found)
    for part in (
        "workers (flag --workers) is 0, but must be at least 1.",
        "port (environment BAAS_PORT) is 'http', but must be a whole number.",
        "must be one of debug, info, warning, error.",
        "BAAS_HSOT (environment) is no setting. Did you mean 'BAAS_HOST'?",
        "prot (settings file) is no setting. Did you mean 'port'?",
        "max_json_depth (settings file) is 1.5, but must be a whole number.",
        "'proxy' is no address or network",
    ):
        assert part in text


@pytest.mark.parametrize("value", ["1_000", "٣", "1e3", "", " ", "0x10", True, 1.0, [1]])
def test_a_port_is_a_plain_whole_number(value):
    """Python's own liberal spellings are not taken over."""
    assert len(faults(text=None, flags={"port": value})) == 1


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "x", True])
def test_a_time_is_finite(value):
    assert len(faults(flags={"queue_wait_s": value})) == 1


def test_names_of_the_tool_and_the_tests_are_left_alone():
    """The command line and the tests read these; a server beside them starts."""
    load(environ={"BAAS_URL": "x", "BAAS_TOKEN": "x", "BAAS_CONFIG": "x", "BAAS_TEST_DATABASE_URL": "x", "PATH": "x"})


@pytest.mark.parametrize("name", ["BAAS_JSON", "BAAS_PROFILES", "BAAS_NO_COLOR", "BAAS_TIMEOUTS"])
def test_a_name_that_nobody_reads_is_refused(name):
    """Nothing that looks like a setting is silently without effect."""
    assert len(faults(environ={name: "1"})) == 1


def test_a_secret_may_come_from_a_file_and_only_from_one_place():
    """`*_FILE` exists for secrets only; both spellings together are refused."""
    loaded = load(environ={"BAAS_SECRET_KEY_FILE": "/run/key"}, files={"/run/key": GOOD_SECRET + "\n"})

    assert loaded.settings.secret_key.reveal() == GOOD_SECRET
    assert loaded.origins["secret_key"] == "file of BAAS_SECRET_KEY_FILE"
    both = {"BAAS_SECRET_KEY_FILE": "/run/key", "BAAS_SECRET_KEY": GOOD_SECRET}
    assert "are both given" in faults(environ=both, files={"/run/key": GOOD_SECRET})[0]
    assert "cannot be read: No such file" in faults(environ={"BAAS_SECRET_KEY_FILE": "/nowhere"})[0]
    assert "is no setting" in faults(environ={"BAAS_PORT_FILE": "/run/key"})[0]


@pytest.mark.parametrize("weak", ["short", "a" * 40, "abcabcabc" * 5, "changeme-0123456789-abcdefghijklmnop"])
def test_a_weak_secret_stops_the_start_and_is_not_shown(weak):
    """Short, monotonous and well-known secrets are refused; the message does not hold them."""
    (fault,) = faults(environ={"BAAS_SECRET_KEY": weak})

    assert "too easy to guess" in fault
    assert weak not in fault


def test_secrets_do_not_show_themselves():
    """Neither repr nor the list of effective settings holds a secret; a database address loses its password only."""
    url = "postgresql://me:hunter22@db:5432/x"
    settings = Settings(secret_key=Secret(GOOD_SECRET), metrics_token=Secret(GOOD_SECRET), database_url=Secret(url))

    assert GOOD_SECRET not in repr(settings) + str(settings.secret_key) + f"{settings.secret_key}"
    assert "hunter22" not in repr(settings)
    assert shown("secret_key", settings) == "•••"
    assert shown("database_url", settings) == "postgresql://me:•••@db:5432/x"
    assert shown("secret_key", Settings()) == ""


@pytest.mark.parametrize("url", ["api.example.com", "ftp://x", "https://x/path", "https://x?y", "https://u@x"])
def test_the_public_address_is_an_origin(url):
    assert len(faults(environ={"BAAS_PUBLIC_URL": url})) == 1


def test_the_address_follows_from_host_and_port_unless_given():
    assert Settings().url == "http://127.0.0.1:8000"
    assert Settings(host="::1", port=1).url == "http://[::1]:1"
    assert Settings(public_url="https://x/").url == "https://x"


def test_plain_http_beyond_this_machine_needs_a_word():
    """A public address without TLS is refused until the operator says so or names an https:// address."""
    assert "over plain HTTP" in faults(flags={"host": "0.0.0.0"})[0]
    load(flags={"host": "0.0.0.0", "insecure_http": True})
    load(flags={"host": "0.0.0.0"}, environ={"BAAS_PUBLIC_URL": "https://api.example.com"})
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        load(flags={"host": host})


def test_an_unreadable_file_is_a_fault():
    assert "is not TOML" in faults(text="port 1")[0]


def test_the_reference_page_is_up_to_date():
    """To mend it: `python -m baas.base.settings_reference > docs/reference/settings.md`."""
    stored = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"

    assert page() == stored.read_text("utf-8")


def test_every_setting_is_explained():
    """A sentence of help, and a default that its own checks accept."""
    for name, one in SETTINGS.items():
        assert one.metadata["about"].help.endswith("."), name
