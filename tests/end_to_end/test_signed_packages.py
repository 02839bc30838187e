"""Real daemons: an image that is pushed to one is pulled from another with its signature."""

import time
from pathlib import Path

from tests.support.daemon import daemon, secret_file
from tests.support.registry_client import RegistryClient, descriptor, digest_of, encoded, registry_http

TOKEN = "t" * 32
NAME = "registry.example/team/app"
LONGEST_SECONDS = 120


def test_an_image_travels_with_its_signature(tmp_path: Path) -> None:
    token = secret_file(tmp_path / "token", TOKEN)
    common = {"formation_keys": ["0123456789abcdef" * 4], "discover_mdns": False, "registry": ["127.0.0.1:0"]}
    shore = {"registry_token_file": str(token), "registry_maps": ["localhost/team/*=registry.example/team/*"]}
    with daemon(tmp_path / "shore", **common, **shore) as first:
        ship = {
            "peers": [str(first.address)],
            "replicate": [f"{NAME}:v1"],
            "tag_policies": [f"{NAME}:*=signers {first.address.endpoint_id}"],
        }
        with (
            daemon(tmp_path / "ship", **common, **ship) as second,
            registry_http(first.registry, headers={"Authorization": f"Bearer {TOKEN}"}) as pushing,
            registry_http(second.registry) as pulling,
        ):
            source, there = RegistryClient(pushing, "team/app"), RegistryClient(pulling, NAME)
            image = source.image()
            source.push_manifest(image, "v1")
            signature = source.image("a signature", subject=descriptor(image))
            source.push_manifest(signature)
            path, ends = f"referrers/{digest_of(encoded(image))}", time.monotonic() + LONGEST_SECONDS
            while not (answer := there.ask("GET", path)).json()["manifests"]:
                assert time.monotonic() < ends, (first.log.read_text(), second.log.read_text())
                time.sleep(0.2)
            assert [each["digest"] for each in answer.json()["manifests"]] == [digest_of(encoded(signature))]
            answer = there.ask("GET", "manifests/v1")
            assert answer.content == encoded(image)
            assert answer.headers["Peat-Tag-Signer"] == str(first.address.endpoint_id)
            assert int(answer.headers["Peat-Tag-Age"]) < LONGEST_SECONDS
            for layer in (*image["layers"], *signature["layers"]):
                assert there.ask("GET", f"blobs/{layer['digest']}").status_code == 200
            assert there.ask("GET", "tags/list").json()["tags"] == ["v1"]
