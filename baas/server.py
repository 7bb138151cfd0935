"""The roof: settings → parts → services → routes → one ASGI application."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from starlette.types import ASGIApp

from baas.base.clock import Clock
from baas.base.principal import Principal
from baas.base.project import LimitSettings, Project
from baas.base.settings import Settings
from baas.engines.changes.reader import Feed
from baas.engines.query.compile import Compiler
from baas.engines.query.slow import SlowQueries
from baas.engines.schema.catalog import Catalog
from baas.features.auth.api import AuthApi, SigningKeysApi, UsersApi
from baas.features.auth.service import Auth
from baas.features.collections.api import CollectionsApi
from baas.features.collections.service import Collections
from baas.features.console.api import ConsoleApi
from baas.features.files.api import FilesApi
from baas.features.files.service import Files
from baas.features.hosting.api import HostingApi
from baas.features.hosting.serve import SiteApp
from baas.features.hosting.service import Hosting
from baas.features.projects.api import KeysApi, OperatorsApi, ProjectsApi
from baas.features.projects.installation import renew_feeds_if_restored, verify_secret_key
from baas.features.projects.keys import PREFIX as KEY_PREFIX
from baas.features.projects.keys import Keys
from baas.features.projects.operators import PREFIX as OPERATOR_PREFIX
from baas.features.projects.operators import Operators
from baas.features.projects.service import Founder, Projects
from baas.features.projects.sweeper import Sweeper
from baas.features.realtime.api import RealtimeApi
from baas.features.realtime.channels import Channels
from baas.features.realtime.service import Realtime
from baas.features.records.api import RecordsApi
from baas.features.records.batch import BatchApi
from baas.features.records.creates import AnonymousCreates
from baas.features.records.exports import ExportsApi
from baas.features.records.importing import ImportApi
from baas.features.records.service import Records
from baas.features.rules.api import RulesApi
from baas.features.rules.denials import Denials
from baas.features.rules.service import Rules
from baas.infra.blobs.base import BlobStore
from baas.infra.blobs.disk import DiskStore
from baas.infra.crypto.passwords import Passwords
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.listen import Invalidations
from baas.infra.db.migrate import is_current, migrate
from baas.infra.db.pool import Database
from baas.infra.db.signals import Signals
from baas.infra.http.admission import AddressRate
from baas.infra.http.middleware import Edge
from baas.infra.http.once import Once
from baas.infra.http.probes import Probes
from baas.infra.http.router import Router
from baas.infra.http.routes import Endpoint
from baas.infra.observe.health import Health
from baas.infra.observe.lifecycle import Lifecycle
from baas.infra.observe.log import Log
from baas.infra.observe.metrics import Metrics

_MOST_COST = 10**12


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. Tests reach through it what HTTP cannot show."""

    app: ASGIApp
    db: Database
    invalidations: Invalidations
    operators: Operators
    projects: Projects
    denials: Denials
    feed: Feed


@dataclass(frozen=True, slots=True)
class _Rooms:
    """The services of all rooms, in the order of the rooms."""

    projects: Projects
    keys: Keys
    operators: Operators
    catalog: Catalog
    auth: Auth
    collections: Collections
    records: Records
    denials: Denials
    rules: Rules
    files: Files
    hosting: Hosting
    compiler: Compiler
    feed: Feed

    async def principal(self, credential: str, project: Project | None) -> Principal:
        """Who presents this credential; its prefix says which room knows. Raises Unauthenticated."""
        if credential.startswith(f"{OPERATOR_PREFIX}_"):
            return await self.operators.principal(credential)
        if credential.startswith(f"{KEY_PREFIX}_"):
            return await self.keys.principal(credential, project)
        return await self.auth.principal(credential, project)


@asynccontextmanager
async def open_server(
    settings: Settings, database_url: str, *, lifecycle: Lifecycle | None = None, log: Log | None = None
) -> AsyncIterator[Server]:
    """Make all parts on a database, migrated first, and take them down in reverse order.

    Raises SchemaTooNew, WrongSecretKey, ConnectionLost and Unavailable, each with words for the operator.
    """
    lifecycle = lifecycle or Lifecycle()
    log = log or Log(sys.stderr, level="warning")
    async with AsyncExitStack() as closing:
        await _prepare(settings, database_url, log)
        db = await Database.connect(
            database_url,
            size=settings.db_pool_size,
            limit_s=settings.statement_timeout_s,
            pipelined=settings.db_pipeline,
        )
        closing.push_async_callback(db.close)
        invalidations = Invalidations(db, database_url)
        passwords = _passwords(settings)
        closing.callback(passwords.close)
        blobs = DiskStore(settings.data_dir / "files")
        signals = Signals(database_url)
        rooms = _rooms(settings, db, invalidations, passwords, blobs, _feed(settings, db, signals))
        await invalidations.start()
        closing.push_async_callback(invalidations.stop)
        await signals.start()
        closing.push_async_callback(signals.stop)
        await rooms.feed.start()
        closing.push_async_callback(rooms.feed.stop)
        sweeps = (rooms.auth.sweep, rooms.denials.sweep, rooms.files.sweep, rooms.hosting.sweep, rooms.feed.sweep)
        sweeper = Sweeper(blobs, rooms.projects, (*sweeps, Once(db, settings.secret_key.reveal().encode()).sweep))
        await sweeper.start()
        closing.push_async_callback(sweeper.stop)
        await rooms.denials.start()
        closing.push_async_callback(rooms.denials.stop)
        metrics = Metrics()
        if db.pipeline is not None:
            figures = db.pipeline.figures
            metrics.gauge("db_pipeline_taken", "Statements sent together with others.", lambda: figures.taken)
            metrics.gauge("db_pipeline_spilled", "Of those, asked again on the pool.", lambda: figures.spilled)
            metrics.gauge("db_pipeline_shared", "Writes that shared their commit.", lambda: figures.together)
        if settings.slow_query_ms:
            slow = SlowQueries(db, rooms.compiler, log, metrics)
            db.tell_of_slow(slow.note, settings.slow_query_ms / 1000)
            closing.push_async_callback(slow.stop)
        realtime = _realtime(settings, db, rooms, lifecycle)
        await realtime.start()
        closing.push_async_callback(realtime.stop)
        channels = Channels(db, rooms.catalog, rooms.auth, Clock(), invalidations, signals)
        rooms.collections.beside.append(channels.guarded)
        await channels.start()
        closing.push_async_callback(channels.stop)
        # A pool that everybody waits for is no reason to take a server out of service.
        health = Health({"database": lambda: invalidations.ask(is_current)}, draining=lifecycle.is_draining)
        api = RealtimeApi(realtime, channels, rooms.denials.note)
        app = _app(settings, db, rooms, blobs, api, health=health, lifecycle=lifecycle, log=log, metrics=metrics)
        yield Server(app, db, invalidations, rooms.operators, rooms.projects, rooms.denials, rooms.feed)


async def _prepare(settings: Settings, database_url: str, log: Log) -> None:
    """Migrate and verify, on connections that end here: one that has made a schema keeps megabytes of what it saw of it."""
    db = await Database.connect(database_url, size=settings.db_pool_size, limit_s=settings.statement_timeout_s)
    try:
        await migrate(db)
        await verify_secret_key(db, settings.secret_key.reveal().encode())
        if renewed := await renew_feeds_if_restored(db):
            log.warning("feeds_renewed", projects=renewed, reason="This database is a restored or promoted one.")
    finally:
        await db.close()


def _feed(settings: Settings, db: Database, signals: Signals) -> Feed:
    history = timedelta(days=settings.history_keep_days) if settings.history_keep_days else None
    keep, most = timedelta(days=settings.changes_keep_days), settings.changes_keep_most
    return Feed(db, signals, keep=keep, keep_most=most, keep_history=history)


def _passwords(settings: Settings) -> Passwords:
    return Passwords(
        memory_kib=settings.argon2_memory_kib,
        time_cost=settings.argon2_time,
        threads=settings.hash_threads,
        queue=settings.hash_queue,
    )


def _rooms(  # noqa: PLR0917  what the parts are made of
    settings: Settings, db: Database, invalidations: Invalidations, passwords: Passwords, blobs: BlobStore, feed: Feed
) -> _Rooms:
    clock, compiler, box = Clock(), Compiler(), SecretBox(settings.secret_key.reveal().encode())
    founders: list[Founder] = []
    longest_ms = int(settings.statement_timeout_s * 1000)
    ceilings = LimitSettings(settings.max_json_bytes, settings.max_file_bytes, longest_ms, longest_ms, _MOST_COST)
    projects = Projects(db, invalidations, founders=founders, ceilings=ceilings)
    operators = Operators(
        db, invalidations, passwords, per_address=settings.sign_in_per_address, per_account=settings.sign_in_per_account
    )
    catalog = Catalog(db, invalidations)
    auth = Auth(db, projects, catalog, compiler, passwords, clock, settings, box, invalidations)
    collections = Collections(db, catalog, invalidations)
    records = Records(db, catalog, compiler, auth, clock, settings)
    denials = Denials(db, catalog, clock)
    files = Files(db, blobs, catalog, compiler, auth, invalidations, clock, settings)
    rules = Rules(db, catalog, compiler, auth, files, denials, clock)
    hosting = Hosting(db, blobs, projects, invalidations, settings=settings, scratch=settings.data_dir / "scratch")
    # The users' table first: the accounts' part of a new project watches over it.
    founders += [collections.found_project, auth.found_project]
    collections.beside.append(files.guarded)
    projects.on_dropped += [files.forget_project, hosting.forget_project]
    keys = Keys(db, invalidations)
    return _Rooms(projects, keys, operators, catalog, auth, collections, records, denials, rules, files, hosting, compiler, feed)


def _realtime(settings: Settings, db: Database, rooms: _Rooms, lifecycle: Lifecycle) -> Realtime:
    return Realtime(
        db,
        rooms.feed,
        rooms.projects,
        rooms.catalog,
        rooms.compiler,
        rooms.auth,
        rooms.records,
        SecretBox(settings.secret_key.reveal().encode()),
        Clock(),
        settings,
        rooms.principal,
        lifecycle,
    )


def _app(
    settings: Settings,
    db: Database,
    rooms: _Rooms,
    blobs: BlobStore,
    realtime: RealtimeApi,
    *,
    health: Health,
    lifecycle: Lifecycle,
    log: Log,
    metrics: Metrics,
) -> ASGIApp:
    metrics.gauge("streams_open", "Clients that follow changes.", lambda: realtime.connections)
    metrics.gauge("denials_dropped", "Refused calls that were not kept for explanations.", lambda: rooms.denials.dropped)
    rate = AddressRate(settings.api_per_address)
    creates = AnonymousCreates(settings.anonymous_creates_per_address)
    once = Once(db, settings.secret_key.reveal().encode())
    apis = (
        RecordsApi(rooms.records, creates),
        BatchApi(rooms.records, db, rate, creates),
        ImportApi(rooms.records, rooms.catalog, db, creates),
        ExportsApi(rooms.records, lifecycle, settings),
        AuthApi(rooms.auth),
        UsersApi(rooms.auth),
        SigningKeysApi(rooms.auth),
        FilesApi(rooms.files, blobs, once),
        realtime,
        CollectionsApi(rooms.collections),
        RulesApi(rooms.rules, rooms.collections),
        HostingApi(rooms.hosting, settings, once),
        ProjectsApi(rooms.projects),
        KeysApi(rooms.keys),
        OperatorsApi(rooms.operators),
        Probes(health, metrics, settings, rooms.principal),
    )
    endpoints: tuple[Endpoint, ...] = tuple(endpoint for api in apis for endpoint in api.routes())
    console = ConsoleApi(rooms.catalog, endpoints, public_url=settings.url)
    return Edge(
        Router((*endpoints, *console.routes()), once=once),
        settings=settings,
        resolve=rooms.projects.find,
        authenticate=rooms.principal,
        site_of_host=rooms.hosting.site_of_host,
        hosting=SiteApp(rooms.hosting, blobs),
        log=log,
        metrics=metrics,
        denied=rooms.denials.note,
        written=rooms.feed.written,
        rate=rate,
        draining=lifecycle.is_draining,
    )
