"""The roof: settings → parts → services → routes → one ASGI application."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from baas.base.clock import Clock
from baas.base.principal import Principal
from baas.base.project import LimitSettings, Project
from baas.base.settings import Settings
from baas.features.projects.api import ProjectsApi
from baas.features.projects.installation import verify_secret_key
from baas.features.projects.keys import PREFIX as KEY_PREFIX
from baas.features.projects.keys import Keys
from baas.features.projects.operators import PREFIX as OPERATOR_PREFIX
from baas.features.projects.operators import Operators
from baas.features.projects.service import Projects
from baas.infra.crypto.passwords import Passwords
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.listen import Invalidations
from baas.infra.db.migrate import is_current, migrate
from baas.infra.db.pool import Database
from baas.infra.http.middleware import Edge
from baas.infra.http.router import Router
from baas.infra.observe.health import Health
from baas.infra.observe.lifecycle import Lifecycle
from baas.infra.observe.log import Log
from baas.infra.observe.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Server:
    """Every part of a running server; tests reach what HTTP cannot show through it."""

    app: ASGIApp
    db: Database
    invalidations: Invalidations
    operators: Operators
    projects: Projects


@asynccontextmanager
async def open_server(
    settings: Settings, database_url: str, *, lifecycle: Lifecycle | None = None, log: Log | None = None
) -> AsyncIterator[Server]:
    """Make all parts on a database, migrated first, and take them down in reverse order.

    Raises SchemaTooNew, WrongSecretKey, ConnectionLost and Unavailable, each with words for the operator.
    """
    import sys

    lifecycle = lifecycle or Lifecycle()
    log = log or Log(sys.stderr, level="warning")
    async with AsyncExitStack() as parts:
        db = await Database.connect(database_url, size=settings.db_pool_size)
        parts.push_async_callback(db.close)
        await migrate(db)
        key = settings.secret_key.reveal().encode()
        await verify_secret_key(db, key)
        clock, box, metrics = Clock(), SecretBox(key), Metrics()
        passwords = Passwords(
            memory_kib=settings.argon2_memory_kib,
            time_cost=settings.argon2_time,
            threads=settings.hash_threads,
            queue=settings.hash_queue,
        )
        parts.callback(passwords.close)
        invalidations = Invalidations(db, database_url)

        founders: list[Any] = []
        apis: list[Any] = []
        ceilings = LimitSettings(settings.max_json_bytes, settings.max_file_bytes)
        projects = Projects(db, invalidations, founders=founders, ceilings=ceilings)
        keys = Keys(db, invalidations)
        operators = Operators(
            db, invalidations, passwords, per_address=settings.sign_in_per_address, per_account=settings.sign_in_per_account
        )
        module = import_module("baas.features.projects.api")
        apis += [module.OperatorsApi(operators), ProjectsApi(projects), module.KeysApi(keys)]
        users: Any = None
        catalog: Any = None
        compiler: Any = None
        try:
            catalog = import_module("baas.engines.schema.catalog").Catalog(db, invalidations)
            collections = import_module("baas.features.collections.service").Collections(db, catalog, invalidations)
            founders.append(collections.found_project)
            apis.append(import_module("baas.features.collections.api").CollectionsApi(collections))
        except ImportError as error:
            print("no collections yet:", error)
        try:
            compiler = import_module("baas.engines.query.compile").Compiler()
            users = import_module("baas.features.auth.service").Auth(
                db, projects, catalog, compiler, passwords, clock, settings, box
            )
            if hasattr(users, "found_project"):
                founders.append(users.found_project)
            apis.append(import_module("baas.features.auth.api").AuthApi(users))
            apis.append(import_module("baas.features.auth.api").UsersApi(users))
        except (ImportError, TypeError, AttributeError) as error:
            print("no auth yet:", error)
        try:
            records = import_module("baas.features.records.service").Records(db, catalog, compiler, users, clock, settings)
            apis.append(import_module("baas.features.records.api").RecordsApi(records))
        except (ImportError, TypeError, AttributeError) as error:
            print("no records yet:", error)
        blobs = import_module("baas.infra.blobs.disk").DiskStore(settings.data_dir / "files")
        hosting = import_module("baas.features.hosting.service").Hosting(
            db, blobs, projects, invalidations, settings=settings, scratch=settings.data_dir / "scratch"
        )
        apis.append(import_module("baas.features.hosting.api").HostingApi(hosting, settings))
        projects.on_dropped.append(hosting.forget_project)
        site_app = import_module("baas.features.hosting.serve").SiteApp(hosting, blobs)
        try:
            files = import_module("baas.features.files.service").Files(
                db, blobs, catalog, users, invalidations, clock, settings
            )
            apis.append(import_module("baas.features.files.api").FilesApi(files, blobs))
            projects.on_dropped.append(files.forget_project)
            sweeper = import_module("baas.features.hosting.sweeper").Sweeper(blobs, projects, files, hosting)
            await sweeper.start()
            parts.push_async_callback(sweeper.stop)
        except (ImportError, TypeError, AttributeError) as error:
            print("no files yet:", error)

        async def authenticate(credential: str, project: Project | None) -> Principal:
            if credential.startswith(OPERATOR_PREFIX + "_"):
                return await operators.principal(credential)
            if credential.startswith(KEY_PREFIX + "_"):
                return await keys.principal(credential, project)
            found: Principal = await users.principal(credential, project)
            return found

        await invalidations.start()
        parts.push_async_callback(invalidations.stop)
        health = Health({"database": lambda: is_current(db)}, draining=lifecycle.is_draining)
        probes = import_module("baas.infra.http.probes").Probes(health, metrics, settings, authenticate)
        apis.append(probes)
        endpoints = [endpoint for api in apis for endpoint in api.routes()]
        console = import_module("baas.features.console.api").ConsoleApi(catalog, endpoints, public_url=settings.url)
        router = Router((*endpoints, *console.routes()))
        edge = Edge(
            router,
            settings=settings,
            resolve=projects.find,
            authenticate=authenticate,
            site_of_host=hosting.site_of_host,
            hosting=site_app,
            log=log,
            metrics=metrics,
        )
        yield Server(edge, db, invalidations, operators, projects)


class Application:
    """The ASGI application of one process: opens the server when the lifespan begins, closes it when it ends."""

    def __init__(self, settings: Settings, database_url: str, *, lifecycle: Lifecycle, log: Log) -> None:
        self._parts: Mapping[str, Any] = {"lifecycle": lifecycle, "log": log}
        self._settings = settings
        self._database_url = database_url
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with open_server(self._settings, self._database_url, **self._parts) as server:
                self._app = server.app
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            if self._app is None:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            raise
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: Settings, database_url: str, *, lifecycle: Lifecycle, log: Log) -> Application:
    """What uvicorn runs."""
    return Application(settings, database_url, lifecycle=lifecycle, log=log)
