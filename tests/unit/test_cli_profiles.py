import stat

import pytest

from api.cli.errors import CliError
from api.cli.profiles import DEFAULT_URL, Profile, connect, profile_path, read_profiles, save_profile


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch):
    for name in ("ORCHARD_URL", "ORCHARD_API_KEY", "ORCHARD_ADMIN_KEY", "ORCHARD_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCHARD_CONFIG", str(tmp_path / "config" / "config.toml"))


def test_without_any_settings_the_default_url_is_used_and_there_is_no_key():
    connection = connect()
    assert (connection.url, connection.api_key, connection.origin["url"]) == (DEFAULT_URL, None, "default")


def test_a_flag_beats_the_environment_which_beats_the_profile(monkeypatch):
    save_profile(profile_path(), "lab", Profile(url="http://profile", api_key="profile-key", admin_key="root-key"))
    assert connect().url == "http://profile"
    monkeypatch.setenv("ORCHARD_URL", "http://environment/")
    monkeypatch.setenv("ORCHARD_API_KEY", "environment-key")
    connection = connect(url="http://flag")
    assert (connection.url, connection.api_key, connection.admin_key) == ("http://flag", "environment-key", "root-key")
    assert connection.origin == {"url": "flag", "api_key": "ORCHARD_API_KEY", "admin_key": "profile lab"}
    assert connect().url == "http://environment"


def test_the_profile_file_is_readable_by_its_owner_only_even_when_it_was_open_before():
    path = profile_path()
    path.parent.mkdir(parents=True)
    path.write_text("")
    path.chmod(0o644)
    save_profile(path, "lab", Profile(url="http://x", api_key="secret"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_saving_one_profile_keeps_the_others_and_odd_characters_survive():
    path = profile_path()
    save_profile(path, 'we"ird.name', Profile(url='http://x/"q"\\', api_key="ü"))
    save_profile(path, "second", Profile(url="http://y"), make_current=False)
    current, profiles = read_profiles(path)
    assert current == 'we"ird.name'
    assert profiles == {'we"ird.name': Profile(url='http://x/"q"\\', api_key="ü"), "second": Profile(url="http://y")}


def test_the_profile_can_be_chosen_by_the_environment_and_by_flag(monkeypatch):
    for name in ("one", "two", "three"):
        save_profile(profile_path(), name, Profile(url=f"http://{name}"))
    assert connect().url == "http://three"
    monkeypatch.setenv("ORCHARD_PROFILE", "two")
    assert connect().url == "http://two"
    assert connect(profile="one").url == "http://one"


def test_an_unknown_profile_is_a_usage_error_that_names_the_known_ones():
    save_profile(profile_path(), "lab", Profile(url="http://x"))
    with pytest.raises(CliError, match="lab") as caught:
        connect(profile="prod")
    assert caught.value.exit_code == 2


def test_a_broken_profile_file_is_named():
    profile_path().parent.mkdir(parents=True)
    profile_path().write_text("current = ")
    with pytest.raises(CliError, match=r"config\.toml"):
        connect()
