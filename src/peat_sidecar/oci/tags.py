"""Tags that name no package of their own. Pure."""

import re

_OF_REFERRERS = re.compile(r"sha(?:256|512)-[0-9a-f]{64,128}(?:\.[a-z0-9]+)?")


def is_referrers_tag(tag: str) -> bool:
    """Whether it lists referrers of a digest (distribution specification 1.1), or is one of cosign's."""
    return _OF_REFERRERS.fullmatch(tag) is not None
