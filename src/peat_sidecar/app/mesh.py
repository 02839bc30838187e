"""Builds the mesh: what this node knows and says of packages, whom it meets, what it fetches by itself."""

import asyncio
import platform
import re
import stat
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from peat_sidecar.agent import AgentClient
from peat_sidecar.config import Settings
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.lan import DnsDiscovery, LanDiscovery
from peat_sidecar.mesh import (
    AgentWatcher,
    Announcer,
    Arrivals,
    Collector,
    Formation,
    KnownDocuments,
    KnownPackages,
    LayoutWatcher,
    NameMaps,
    Offers,
    OnDemand,
    Peers,
    Pins,
    Platforms,
    Policy,
    Providers,
    Quota,
    RegistryExports,
    RegistryPattern,
    RegistryWatcher,
    Replicator,
    Roster,
    Syncer,
    TagDisputes,
    TagPolicies,
    TagRules,
    Tags,
    Trust,
    Upkeep,
    Wants,
    Whereabouts,
)
from peat_sidecar.net import IrohEndpoint, load_identity
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.rate import (
    APPROVE_ABOVE,
    BUDGET,
    CLASS,
    CLASS_SHARE,
    METERED,
    PEER,
    TIME_ZONE,
    Limits,
)
from peat_sidecar.records import Records, Signer
from peat_sidecar.state import State
from peat_sidecar.store import Store
from peat_sidecar.transfer import Clearance, Exporter, Getter, Importer, Limiter, Transfers
from peat_sidecar.wire import parse_peer

Run = Callable[[], Coroutine[Any, Any, None]]
Watcher = AgentWatcher | RegistryWatcher | LayoutWatcher
_log = structlog.get_logger(__name__)
_is_id = re.compile(r"[0-9a-f]{64}").fullmatch


def formation_of(settings: Settings) -> Formation | None:
    """What the settings say; None without a key. `ConfigError` for keys that are none."""
    if not settings.has_formation:
        return None
    try:
        keys = [Formation.parse_key(text) for text in settings.formation_keys]
    except ConfigError as error:
        raise ConfigError(f"formation_keys (PEAT_SIDECAR_FORMATION_KEYS): {error}") from None
    for path in settings.formation_key_files:
        keys.append(Formation.read_key(path.expanduser()))
        _warn_of_readers(path.expanduser())
    return Formation(settings.app_id, keys)


def _warn_of_readers(path: Path) -> None:
    """Of all users, and borne: a secret that a cluster mounts is so, in a place of its own."""
    with suppress(OSError):
        if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            _log.warning(
                "every user of this machine can read or change the formation key; run chmod 600",
                file=str(path),
            )


@dataclass(frozen=True, slots=True)
class Identity:
    """The two keys of a node, which are one unless identities are derived."""

    secret_key: bytes
    """Of the endpoint."""
    signer: Signer
    """Of records: always the node's own key, never a derived one."""


def identity_of(settings: Settings, formation: Formation | None) -> Identity:
    """Makes the node's own key at the first start."""
    own = load_identity(settings.data_dir / "identity.key")
    derived = settings.identity == "derived" and formation is not None
    secret = formation.derive_secret(settings.node_id) if derived and formation is not None else own
    return Identity(secret, Signer(own))


def agent_id_of(settings: Settings, signer: EndpointId) -> str:
    """What this node's documents begin with. Where that is a node's id, it is the one that signs, which a
    derived endpoint does not: of an id only its own signer is believed.
    """
    if _is_id(settings.agent_id) and settings.agent_id != str(signer):
        raise ConfigError(
            f"agent_id (--agent-id, PEAT_SIDECAR_AGENT_ID): {settings.agent_id} is a node's id, and documents"
            f" of this node, signed by {signer}, would be believed by nobody; choose a name"
        )
    return settings.agent_id or str(signer)


def peers_of(
    settings: Settings, formation: Formation | None, state: State, syncer: Syncer, trust: Trust
) -> Peers:
    """The table, with those that the settings name."""
    try:
        named = [parse_peer(text) for text in settings.peers]
    except ConfigError as error:
        raise ConfigError(f"peers (--peer, PEAT_SIDECAR_PEERS): {error}") from None
    try:
        allowed = [EndpointId.parse(text) for text in settings.allow]
    except ConfigError as error:
        raise ConfigError(f"allow (--allow, PEAT_SIDECAR_ALLOW): {error}") from None
    return Peers(
        named=named,
        allowed=allowed,
        formation=formation,
        state=state,
        session=syncer.run_session,
        may_join=trust.may_join,
        has_roster=trust.admin is not None,
    )


def limits_of(settings: Settings) -> Limits:
    """What the settings say. `ConfigError` names the one that is none."""
    texts = {"up": settings.limit_up, "down": settings.limit_down, "total": settings.limit_total}
    texts = {name: text for name, text in texts.items() if text}
    if settings.approve_above:
        texts[APPROVE_ABOVE] = settings.approve_above
    rate = "NAME=512 kbit/s"
    for kind, option, items, example in (
        (BUDGET, "budgets (--budget, PEAT_SIDECAR_BUDGETS)", settings.budgets, "any=500 MB a day"),
        (METERED, "metered (--metered, PEAT_SIDECAR_METERED)", settings.metered, "10.0.0.0/8=critical"),
        (PEER, "limit_peers (--limit-peer, PEAT_SIDECAR_LIMIT_PEERS)", settings.limit_peers, rate),
        (CLASS, "limit_classes (--limit-class, PEAT_SIDECAR_LIMIT_CLASSES)", settings.limit_classes, rate),
    ):
        for item in items:
            name, equals, text = item.partition("=")
            if not equals:
                raise ConfigError(f"{option}: {item[:80]!r} is no limit; one looks like {example}")
            texts[f"{kind}{name.strip()}"] = text
    try:
        return Limits.parse(texts | {TIME_ZONE: settings.time_zone, CLASS_SHARE: str(settings.class_share)})
    except ConfigError as error:
        raise ConfigError(f"limits (--limit-up, --budget and so on): {error}") from None


def tag_policies_of(settings: Settings, own: EndpointId) -> TagPolicies:
    """What the settings say. `ConfigError` names the one that is none."""
    try:
        return TagPolicies.parse(settings.tag_policies, [own])
    except ConfigError as error:
        raise ConfigError(f"tag_policies (--tag-policy, PEAT_SIDECAR_TAG_POLICIES): {error}") from None


def name_maps_of(settings: Settings) -> NameMaps:
    """What the settings say. `ConfigError` names the one that is none."""
    try:
        return NameMaps.parse(settings.registry_maps)
    except ConfigError as error:
        raise ConfigError(f"registry_maps (--registry-map, PEAT_SIDECAR_REGISTRY_MAPS): {error}") from None


def quota_of(settings: Settings) -> Quota:
    """What the settings say. `ConfigError` when it is none."""
    try:
        return Quota.parse(settings.quota)
    except ConfigError as error:
        raise ConfigError(f"quota (--quota, PEAT_SIDECAR_QUOTA): {error}") from None


@dataclass(frozen=True, slots=True)
class Ground:
    """What the mesh stands on."""

    settings: Settings
    endpoint: IrohEndpoint
    store: Store
    state: State
    records: Records
    trust: Trust
    peers: Peers
    transfers: Transfers
    importer: Importer
    exporter: Exporter
    getter: Getter
    clearance: Clearance
    limiter: Limiter
    registries: RegistryOptions
    agent_id: str
    formation: Formation | None

    @property
    def address(self) -> PeerAddress:
        """Where peers find this node now."""
        return PeerAddress(self.endpoint.id, self.endpoint.addresses())


class Mesh:
    """All that goes on by itself."""

    def __init__(self, ground: Ground) -> None:
        settings, records, store, state = ground.settings, ground.records, ground.store, ground.state
        self._ground = ground
        policy = Policy(settings.replicate, Platforms(settings.platforms))
        tag_policies = tag_policies_of(settings, records.id)
        rules = TagRules(tag_policies, records)
        offers = Offers(records, ground.trust, policy.platforms, tag_policies)
        self._whereabouts = Whereabouts(
            ground.agent_id,
            records,
            ground.peers,
            lambda: ground.address,
            about={"version": version("peat-sidecar"), "platform": _own_platform()},
        )
        self.providers = Providers(self._whereabouts, offers, ground.endpoint.id, ground.peers.sessions)
        self.exports = RegistryExports(state, store, ground.exporter, ground.transfers, ground.registries)
        self.wants = Wants(
            state,
            records,
            store,
            ground.getter,
            ground.transfers,
            ground.peers,
            offers=offers,
            providers=self.providers,
            arrivals=Arrivals(store, state, policy.platforms, self.exports, rules, offers),
            approve_above=lambda: ground.limiter.limits.budgets.approve_above,
        )
        ground.limiter.on_change(self.wants.limits_changed)
        self.pins = Pins(state)
        self.replicator = Replicator(
            policy,
            records,
            self.wants,
            store,
            state,
            ground.trust,
            self.providers,
            pins=self.pins,
            quota=quota_of(settings),
            tags=rules,
        )
        self._documents = KnownDocuments(records, offers, self.providers, ground.peers, ground.getter, store)
        self.collector = Collector(store, state, self.wants, kept=self._documents.kept)
        self._announcer = Announcer(
            ground.agent_id,
            records,
            store,
            state,
            offers,
            wants=self.wants,
            exports=self.exports,
            sources=_sources(settings),
            shares=ground.clearance.shares_package,
            maps=name_maps_of(settings),
        )
        self._known = KnownPackages(records, ground.trust, ground.agent_id)
        self._disputes = TagDisputes(records, offers)
        self.tags = Tags(offers, self._known, rules)
        self.on_demand = OnDemand(
            ground.agent_id,
            self._known,
            self._documents,
            offers=offers,
            providers=self.providers,
            wants=self.wants,
            store=store,
            getter=ground.getter,
            wait_seconds=lambda: settings.registry_wait_seconds,
        )
        self._client = _agent_client(settings)
        self.watchers = dict(self._watchers())
        self._lan = self._lan_discovery()

    def runs(self) -> dict[str, Run]:
        """What has to be run, by name."""
        ground, settings = self._ground, self._ground.settings
        upkeep = Upkeep(ground.records, ground.peers.sessions, forget_days=settings.forget_days)
        runs: dict[str, Run] = {
            "keep what is used of budgets": ground.limiter.run,
            "wants": self.wants.run,
            "replicate": self.replicator.run,
            "look after the store": self.collector.run,
            "announce": self._announcer.run,
            "export to registries": self.exports.run,
            "tell and hear where nodes are": self._whereabouts.run,
            "look after records": upkeep.run,
            "look for disputed tags": self._disputes.run,
        }
        runs |= {f"watch {name}": each.run for name, each in self.watchers.items()}
        if settings.registry:
            runs["keep documents of known packages"] = self._documents.run
        if settings.discover_dns:
            runs["look names up"] = self._dns_discovery().run
        return runs

    async def start(self) -> None:
        """Looks for members on the local network."""
        if self._lan is not None:
            await self._lan.start()

    async def close(self) -> None:
        """Says goodbye on the local network."""
        if self._lan is not None:
            await self._lan.close()
        if self._client is not None:
            await self._client.close()
        self._known.close()

    def _watchers(self) -> list[tuple[str, Watcher]]:
        ground, settings = self._ground, self._ground.settings
        found: list[tuple[str, Watcher]] = []
        if self._client is not None:
            agent = AgentWatcher(
                self._client,
                ground.agent_id,
                self._whereabouts,
                self._announcer,
                ground.importer,
                ground.transfers,
                ground.registries,
                ground.store,
                poll_seconds=settings.agent_poll_seconds,
            )
            found.append((f"agent {settings.agent}", agent))
        for pattern in settings.watch_registries:
            registry = RegistryWatcher(
                pattern,
                self._announcer,
                ground.importer,
                ground.transfers,
                ground.registries,
                ground.store,
                poll_seconds=settings.watch_seconds,
            )
            found.append((f"registry {pattern}", registry))
        for path in settings.watch_layouts:
            layout = LayoutWatcher(path, self._announcer, ground.importer, ground.transfers, ground.store)
            found.append((f"layout {path}", layout))
        return found

    def _lan_discovery(self) -> LanDiscovery | None:
        ground = self._ground
        formation, endpoint = ground.formation, ground.endpoint
        if formation is None or not ground.settings.discover_mdns:
            return None
        return LanDiscovery(
            lambda: PeerAddress(endpoint.id, endpoint.interface_addresses()),
            formation.tag(endpoint.id),
            formation.recognises,
            lambda peer: ground.peers.discovered(peer, "mdns"),
        )

    def _dns_discovery(self) -> DnsDiscovery:
        peers, trust = self._ground.peers, self._ground.trust

        def missing() -> list[EndpointId]:
            known = {peer.endpoint_id for peer in peers.list()}
            listed = set(trust.roster.entries) if trust.roster is not None else set()
            return [*peers.missing(), *(listed - known - {self._ground.endpoint.id})]

        return DnsDiscovery(
            self._ground.settings.discover_dns, missing, lambda peer: peers.discovered(peer, "dns")
        )


def keep_bans(peers: Peers, records: Records) -> None:
    """Who is banned as a peer is banned as a signer, also after a stop between the two. Blocks."""
    banned = {ban.endpoint_id for ban in peers.bans()}
    for id in banned - records.banned():
        records.ban(id)
    for id in records.banned() - banned:
        records.unban(id)


def follow_roster(trust: Trust, peers: Peers) -> Callable[[], None]:
    """Closes the connections of peers that a new roster leaves out. What it gives ends it."""
    loop = asyncio.get_running_loop()

    def changed(_: Roster) -> None:
        loop.call_soon_threadsafe(peers.recheck)

    return trust.on_change(changed)


def _agent_client(settings: Settings) -> AgentClient | None:
    if not settings.agent:
        return None
    return AgentClient(
        settings.agent,
        tls_cert=settings.agent_tls_cert,
        tls_key=settings.agent_tls_key,
        tls_ca=settings.agent_tls_ca,
    )


def _sources(settings: Settings) -> list[str]:
    """What the announcer waits for before it takes anything back."""
    return [
        *(["agent"] if settings.agent else []),
        *(f"registry {RegistryPattern.parse(pattern)}" for pattern in settings.watch_registries),
        *(f"layout {path.expanduser().absolute()}" for path in settings.watch_layouts),
    ]


def _own_platform() -> str:
    return f"{platform.system().lower()}/{platform.machine()}"
