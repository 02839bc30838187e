"""Settings from options, variables and a file; and what is said about wrong ones."""

import os
from pathlib import Path

import pytest

from peat_sidecar.app.mesh import limits_of
from peat_sidecar.classes import TransferClass
from peat_sidecar.config import ApiAddress, default_api, load_settings
from peat_sidecar.errors import ConfigError

ID = "ab" * 32


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("PEAT_SIDECAR_"):
            monkeypatch.delenv(name)


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/someone")
    settings = load_settings()
    assert settings.data_dir == Path("/home/someone/.local/share/peat-sidecar")
    assert settings.api_addresses == (ApiAddress(path=settings.data_dir / "api.sock"),)
    assert settings.listen == ("0.0.0.0:4433",)
    assert settings.stall_seconds == 5
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert load_settings().data_dir == Path("/var/lib/peat-sidecar")


def test_options_go_before_variables_and_those_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('stall_seconds = 1\nlog_level = "DEBUG"\nlisten = ["127.0.0.1:1"]\nallow = ["x", "y"]\n')
    monkeypatch.setenv("PEAT_SIDECAR_STALL_SECONDS", "2")
    monkeypatch.setenv("PEAT_SIDECAR_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("PEAT_SIDECAR_CONFIG", str(file))
    settings = load_settings({"listen": ["127.0.0.1:3"], "allow": (), "log_format": None})
    assert (settings.listen, settings.stall_seconds, settings.log_level, settings.allow) == (
        ("127.0.0.1:3",),
        2,
        "debug",
        ("x", "y"),
    )


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN", "API", "STALL_SECONDS", "CONFIG", "DATA_DIR", "LOG_FORMAT", "NO_SUCH_SETTING"):
        monkeypatch.setenv(f"PEAT_SIDECAR_{name}", "")
    assert load_settings().listen == ("0.0.0.0:4433",)


def test_lists_in_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PEAT_SIDECAR_API", f"unix:{tmp_path}/a.sock, tcp://[::1]:50051,")
    monkeypatch.setenv("PEAT_SIDECAR_PEERS", f"{ID}@one:1,two:2,{ID}@[::1]:3,{ID}")
    monkeypatch.setenv("PEAT_SIDECAR_IMPORT_ROOTS", str(tmp_path))
    settings = load_settings()
    assert list(map(str, settings.api)) == [f"unix:{tmp_path}/a.sock", "tcp://[::1]:50051"]
    assert settings.peers == (f"{ID}@one:1,two:2", f"{ID}@[::1]:3", ID)
    assert settings.import_roots == (tmp_path,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:/run/a.sock", ApiAddress(path=Path("/run/a.sock"))),
        ("unix:///run/a.sock", ApiAddress(path=Path("/run/a.sock"))),
        ("tcp://127.0.0.1:50051", ApiAddress(host="127.0.0.1", port=50051)),
        ("tcp://localhost:0/", ApiAddress(host="localhost", port=0)),
        ("tcp://[::1]:80", ApiAddress(host="::1", port=80)),
    ],
)
def test_api_addresses(text: str, expected: ApiAddress) -> None:
    assert ApiAddress.parse(text) == expected
    assert ApiAddress.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "unix:", "tcp:127.0.0.1:1", "http://127.0.0.1:1", "tcp://:1", "tcp://a:x", "tcp://a:65536"]
)
def test_texts_that_are_no_api_address(text: str) -> None:
    with pytest.raises(ConfigError, match="looks like"):
        ApiAddress.parse(text)


def test_a_socket_path_that_is_too_long() -> None:
    with pytest.raises(ConfigError, match="107 bytes"):
        default_api(Path("/" + "long/" * 30))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"listen": ["nonsense"]}, "listen .*PEAT_SIDECAR_LISTEN.*'nonsense'.*0.0.0.0:4433"),
        ({"listen": ["name.example:1"]}, "is no address to listen on"),
        ({"stall_seconds": 0}, "stall_seconds.*greater than 0"),
        ({"log_level": "loud"}, "log_level.*'debug'.*'loud'"),
        ({"api_tls_cert": "/a"}, "belong together"),
        ({"api": ["tcp://0.0.0.0:1"]}, "needs TLS"),
        ({"api": ["tcp://sidecar.example:1"]}, "needs TLS"),
        ({"api": ["ftp://x"]}, "api .*no address for the API"),
        ({"import_roots": ["/no/such/folder"]}, "import_roots.*/no/such/folder is no directory"),
        ({"listne": "x"}, "no setting 'listne'; did you mean listen"),
    ],
)
def test_wrong_settings_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(options)


def test_unknown_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEAT_SIDECAR_LISTENS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match="PEAT_SIDECAR_LISTENS; did you mean PEAT_SIDECAR_LISTEN"):
        load_settings()


def test_tcp_beyond_loopback_with_tls() -> None:
    options = {"api": ["tcp://0.0.0.0:1"], "api_tls_cert": "/c.pem", "api_tls_key": "/k.pem"}
    assert not load_settings(options).api[0].is_loopback


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(config_file=tmp_path / "none.toml")
    file = tmp_path / "config.toml"
    file.write_text("listen = [")
    with pytest.raises(ConfigError, match="is no TOML"):
        load_settings(config_file=file)
    file.write_text('lissten = "x"')
    with pytest.raises(ConfigError, match="no setting 'lissten'"):
        load_settings(config_file=file)


def test_rules_from_a_file_a_variable_and_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[[replicate]]\nreference = "*/team/*"\nclass = "high"\nplatforms = ["linux/arm64"]\n')
    (rule,) = load_settings(config_file=file).replicate
    assert (rule.reference, rule.transfer_class, rule.platforms) == (
        "*/team/*",
        TransferClass.HIGH,
        ("linux/arm64",),
    )
    rules = "a/*,carry ; b/*,class=bulk,export=127.0.0.1:5000,referrers=no"
    monkeypatch.setenv("PEAT_SIDECAR_REPLICATE", rules)
    carried, exported = load_settings().replicate
    assert (carried.reference, carried.carry, carried.transfer_class) == ("a/*", True, TransferClass.NORMAL)
    assert (exported.export, exported.transfer_class) == ("127.0.0.1:5000", TransferClass.BULK)
    assert (carried.referrers, exported.referrers) == (True, False)
    monkeypatch.setenv("PEAT_SIDECAR_REPLICATE", '[{"reference": "c/*"}]')
    assert [rule.reference for rule in load_settings().replicate] == ["c/*"]
    assert [rule.reference for rule in load_settings({"replicate": ["d/*", "e/*"]}).replicate] == [
        "d/*",
        "e/*",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"agent_tls_cert": "/c", "agent": "https://a"}, "belong together"),
        ({"agent_tls_cert": "/c", "agent_tls_key": "/k", "agent": "http://a:1"}, "https"),
        ({"agent": "127.0.0.1:9090"}, "no URL"),
        ({"agent_id": "a:b"}, "colon"),
        ({"identity": "derived", "node_id": "one"}, "formation key"),
        ({"admission": "key+roster", "formation_keys": "00" * 32}, "roster_admin"),
        (
            {
                "admission": "key+roster",
                "formation_keys": "00" * 32,
                "roster_admin": "ab" * 32,
                "identity": "derived",
                "node_id": "one",
            },
            "choose one",
        ),
        ({"roster_admin": "xyz"}, "64 hexadecimal"),
        ({"roster_admin": "ab" * 32, "formation_keys": "00" * 32}, "admission is key.roster"),
        ({"formation_keys": "a,b,c"}, "two while it is changed"),
        ({"watch_registries": "team/*"}, None),
        ({"watch_registries": "noslash"}, "no registry"),
        ({"discover_dns": "peers"}, "port"),
        ({"replicate": "a/*,clas=high"}, "no part of a rule"),
        ({"replicate": "a/*,class=urgent"}, "class"),
        ({"class_share": 0.6}, "class-share"),
    ],
)
def test_settings_of_the_mesh_that_cannot_be_right(options: dict[str, object], said: str | None) -> None:
    if said is None:
        load_settings(options)
        return
    with pytest.raises(ConfigError, match=said):
        load_settings(options)


def test_limits_have_commas_and_come_apart_at_semicolons(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = "22:00-06:00 unlimited, else 512 kbit/s"
    monkeypatch.setenv("PEAT_SIDECAR_LIMIT_UP", windows)
    monkeypatch.setenv("PEAT_SIDECAR_LIMIT_PEERS", f"{ID}={windows}; {ID[::-1]}=1 Mbit/s;")
    settings = load_settings({"limit_classes": [f"bulk={windows}"], "class_share": 0})
    assert settings.limit_up == windows
    assert settings.limit_peers == (f"{ID}={windows}", f"{ID[::-1]}=1 Mbit/s")
    assert settings.limit_classes == (f"bulk={windows}",)
    limits = limits_of(settings)
    assert limits.texts[f"peer {ID}"] == windows
    assert limits.share == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit_up": "fast"}, "limit up: 'fast' is no rate"),
        ({"limit_peers": ["1 Mbit/s"]}, "--limit-peer"),
        ({"limit_peers": ["me=1 Mbit/s"]}, "--limit-up"),
        ({"limit_classes": ["urgent=1 Mbit/s"]}, "cannot be limited"),
        ({"time_zone": "Mars"}, "time zone"),
    ],
)
def test_limits_that_are_none(options: dict[str, object], said: str) -> None:
    settings = load_settings(options)
    with pytest.raises(ConfigError, match=said):
        limits_of(settings)


def test_upstreams(tmp_path: Path) -> None:
    texts = "docker.io, registry.example:5000=http://127.0.0.1:5001/ upstream-first"
    settings = load_settings({"upstreams": texts, "registry_default": "docker.io"})
    assert [(each.registry, each.url, each.order) for each in settings.upstreams] == [
        ("docker.io", "", "mesh-first"),
        ("registry.example:5000", "http://127.0.0.1:5001", "upstream-first"),
    ]
    file = tmp_path / "peat.toml"
    file.write_text('upstreams = ["docker.io", {registry = "a.example", order = "upstream-first"}]')
    assert len(load_settings(config_file=file).upstreams) == 2


@pytest.mark.parametrize(
    "text",
    [
        "a.example/team",
        "a.example=ftp://a",
        "a.example=https://a/b",
        "a.example first",
        "a b c",
        "=https://a",
        "a.example=https://u:p@a",
    ],
)
def test_bad_upstreams(text: str) -> None:
    with pytest.raises(ConfigError, match=r"one looks like registry\.example"):
        load_settings({"upstreams": text})
