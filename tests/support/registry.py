"""A real docker-registry in a process of its own, on a free port of the loopback, with its own folder.

    with registry(tmp_path) as running:
        ... f"docker://{running.address}/app/a:v1" ...

Variants: passwords (htpasswd), TLS with a CA made for the occasion, read-only. Needs the Debian packages
docker-registry and apache2-utils; without them the tests that use it fail and say so, they are not skipped.
"""

import contextlib
import datetime
import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "sailor", "correct horse: battery"
_START_SECONDS = 20


@dataclass(frozen=True)
class RunningRegistry:
    """A docker-registry that answers."""

    address: str
    """`127.0.0.1:port`."""
    storage: Path
    """Its folder."""
    ca_file: Path | None
    """The CA of its certificate, when it talks TLS."""
    log: Path
    """What it writes."""

    def blob_file(self, digest: str) -> Path:
        """Where it keeps a blob."""
        algorithm, _, digits = digest.partition(":")
        return self.storage / "docker/registry/v2/blobs" / algorithm / digits[:2] / digits / "data"


@contextlib.contextmanager
def registry(
    directory: Path,
    *,
    password: bool = False,
    tls: bool = False,
    read_only: bool = False,
    storage: Path | None = None,
) -> Iterator[RunningRegistry]:
    """Starts a registry, waits until it answers, and stops it; `storage` gives it another folder."""
    directory.mkdir(parents=True, exist_ok=True)
    require("docker-registry", "docker-registry")
    address = f"127.0.0.1:{free_port()}"
    storage = storage or directory / "storage"
    certificate = make_certificate(directory) if tls else None
    settings = _settings(address, storage, read_only)
    if certificate:
        settings["http"]["tls"] = {"certificate": str(certificate.chain), "key": str(certificate.key)}  # type: ignore[index]
    if password:
        settings["auth"] = {"htpasswd": {"realm": "harbour", "path": str(_htpasswd(directory))}}
    config = directory / "config.yml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    log = directory / "registry.log"
    with log.open("wb") as out:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=out, stderr=out)
    try:
        ca_file = certificate.ca if certificate else None
        _wait_until_ready(process, address, ca_file, log)
        yield RunningRegistry(address, storage, ca_file, log)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def skopeo(*arguments: str | Path, timeout_seconds: float = 120) -> str:
    """Runs skopeo and gives what it prints; an error carries what it says."""
    require("skopeo", "skopeo")
    command = ["skopeo", "--insecure-policy", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"skopeo {' '.join(map(str, arguments))}: {done.stderr[-2000:]}")
    return done.stdout


def skopeo_push(layout: str | Path, tag: str, destination: str, *options: str) -> None:
    """Copies all of `oci:layout:tag` to `docker://destination`, byte for byte, over plain HTTP."""
    plain = ("--dest-tls-verify=false",) if not any("dest-cert-dir" in option for option in options) else ()
    copy = ("copy", "--all", "--preserve-digests", *plain, *options)
    skopeo(*copy, f"oci:{layout}:{tag}", f"docker://{destination}")


def skopeo_pull(source: str, layout: str | Path, tag: str, *options: str) -> None:
    """Copies all of `docker://source` to `oci:layout:tag`, byte for byte, over plain HTTP."""
    plain = ("--src-tls-verify=false",) if not any("src-cert-dir" in option for option in options) else ()
    copy = ("copy", "--all", "--preserve-digests", *plain, *options)
    skopeo(*copy, f"docker://{source}", f"oci:{layout}:{tag}")


def require(program: str, package: str) -> None:
    """Fails, with the remedy, when a program is not installed."""
    if not shutil.which(program):
        raise RuntimeError(f"{program} is not installed; apt-get install {package}")


def free_port() -> int:
    """A TCP port of the loopback that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Certificate:
    """Files of a server's certificate for 127.0.0.1 and localhost, signed by a CA of its own."""

    ca: Path
    chain: Path
    key: Path


def make_certificate(directory: Path) -> Certificate:
    """Makes a CA, and with it a certificate for the loopback that is good for a day."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _name("test CA"), _name("localhost")
    ca = (
        _certificate(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = (
        _certificate(name, ca_name, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    made = Certificate(directory / "ca.crt", directory / "server.crt", directory / "server.key")
    made.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    made.chain.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return made


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    return x509.CertificateBuilder(issuer, subject, key.public_key(), 4711, now - hour, now + 24 * hour)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _settings(address: str, storage: Path, read_only: bool) -> dict[str, object]:
    return {
        "version": 0.1,
        "log": {"accesslog": {"disabled": False}, "level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}, "readonly": {"enabled": read_only}},
        },
        "http": {"addr": address},
        # Without this it refuses manifests with foreign layers.
        "validation": {"manifests": {"urls": {"allow": [".*"]}}},
    }


def _htpasswd(directory: Path) -> Path:
    require("htpasswd", "apache2-utils")
    # Cost 4 is bcrypt's lowest: a registry checks the password at every request.
    line = subprocess.run(
        ["htpasswd", "-BbnC4", USER, PASSWORD], capture_output=True, check=True, text=True
    ).stdout
    path = directory / "htpasswd"
    path.write_text(line)
    return path


def _wait_until_ready(
    process: subprocess.Popen[bytes], address: str, ca_file: Path | None, log: Path
) -> None:
    context = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            opener.open(f"{'https' if ca_file else 'http'}://{address}/v2/", timeout=2).close()
            return
        except urllib.error.HTTPError as answer:  # 401 is an answer too
            answer.close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"docker-registry on {address} does not answer: {log.read_text()[-2000:]}")
