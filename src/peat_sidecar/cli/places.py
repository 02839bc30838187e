"""Where packages and files come from and go to, as people type it.

`oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, `docker://REFERENCE` as skopeo has them; for sources also
`registry-storage:DIR[:NAME]` and `containerd:DIR[:NAME]`; a path; a reference.
What comes out are fields of the API's requests, with absolute paths.
"""

import os
from collections.abc import Callable, Mapping

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import BlobHash, Reference

_LAYOUT, _ARCHIVE, _REGISTRY = "oci:", "oci-archive:", "docker://"
_STORAGE, _CONTAINERD = "registry-storage:", "containerd:"
_FORMS = "oci:DIR, oci-archive:FILE, host/repository:tag"
_SOURCE_FORMS = f"{_FORMS}, registry-storage:DIR, containerd:DIR"


def parse_source(text: str) -> dict[str, str]:
    """The field `file`, `layout`, `archive`, `reference`, `registryStorage` or `containerd`, and `choice`."""
    found = _in_scheme(text) or _in_store(text)
    if found is not None:
        place, name, rest = found
        return {place: name} | ({"choice": rest} if rest else {})
    path = absolute(text)
    if os.path.isdir(path):
        if os.path.isfile(os.path.join(path, "oci-layout")):
            return {"layout": path}
        raise ConfigError(f"{text} is a folder without an OCI layout; name a file, or {_SOURCE_FORMS}")
    if not os.path.exists(path) and _is_reference(text):
        return {"reference": text}
    if not os.path.exists(path) and not _is_path(text):
        raise ConfigError(f"there is no file {text}, and it is no reference; name a file, or {_SOURCE_FORMS}")
    return {"file": path}


def parse_package_target(text: str) -> dict[str, str]:
    """The fields `layout`, `archive` or `reference`, and `tag`."""
    found = _in_scheme(text)
    if found is not None:
        place, name, rest = found
        return {place: name} | ({"tag": rest} if rest else {})
    path = absolute(text)
    if os.path.isfile(os.path.join(path, "oci-layout")):
        return {"layout": path}
    if _is_reference(text):
        return {"reference": text}
    raise ConfigError(f"{text} is no place for a package; name {_FORMS}, or export a --blob to a file")


def parse_blob_target(text: str) -> dict[str, str]:
    """The field `file`."""
    if text.startswith((_LAYOUT, _ARCHIVE, _REGISTRY)):
        raise ConfigError(f"a single blob goes to a file; name a path instead of {text}")
    path = absolute(text)
    if text.endswith("/") or os.path.isdir(path):
        raise ConfigError(f"{text} is a folder; name the file that the blob becomes")
    return {"file": path}


def parse_fetch(text: str, peer: str | None, *, blob: bool) -> dict[str, str]:
    """The fields `ticket`, `package` or `blob`, and `peer`."""
    named = {"peer": peer} if peer else {}
    if not _is_hash(text):
        if blob:
            raise ConfigError("a ticket says itself whether it is for a blob; leave --blob out")
        return {"ticket": text} | named
    if not peer:
        raise ConfigError("a hash does not say who has it; add --from ID@host:port, or name a ticket")
    return {"blob" if blob else "package": text} | named


def absolute(text: str) -> str:
    """As the daemon needs it: it has another working directory. `ConfigError` for what no path can be."""
    if not text or "\0" in text:
        raise ConfigError("a path is empty; name a file or folder")
    path = os.path.abspath(os.path.expanduser(text))
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"the path {text!a} is not UTF-8; the API takes no other, so rename it") from None
    return path


def _in_scheme(text: str) -> tuple[str, str, str] | None:
    """Field, name and what follows it; None without a scheme."""
    if text.startswith(_REGISTRY):
        return "reference", text.removeprefix(_REGISTRY), ""
    return _with_path(text, {_LAYOUT: "layout", _ARCHIVE: "archive"})


def _in_store(text: str) -> tuple[str, str, str] | None:
    """As `_in_scheme`, of what a registry or containerd keeps on disk, which is only read."""
    return _with_path(text, {_STORAGE: "registryStorage", _CONTAINERD: "containerd"})


def _with_path(text: str, schemes: Mapping[str, str]) -> tuple[str, str, str] | None:
    for scheme, place in schemes.items():
        if text.startswith(scheme):
            path, rest = _split_path(text.removeprefix(scheme))
            return place, absolute(path), rest
    return None


def _split_path(text: str) -> tuple[str, str]:
    """At the first colon behind something that exists, so that paths may have colons; else at the first."""
    expanded = os.path.expanduser(text)
    if os.path.exists(expanded):
        return text, ""
    cuts = [place for place, letter in enumerate(text) if letter == ":"]
    for cut in cuts:
        if os.path.exists(os.path.expanduser(text[:cut])):
            return text[:cut], text[cut + 1 :]
    path, _, rest = text.partition(":")
    return path, rest


def _is_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~"))


def _is_reference(text: str) -> bool:
    """With a host that is unmistakable, as docker has it: with a dot or a port, or `localhost`."""
    host = text.partition("/")[0]
    if _is_path(text) or not ("." in host or ":" in host or host == "localhost"):
        return False
    return _parses(Reference.parse, text)


def _is_hash(text: str) -> bool:
    return _parses(BlobHash.parse, text)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ConfigError:
        return False
    return True
