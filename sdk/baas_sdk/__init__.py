"""The client of the baas platform: `Client` and `AsyncClient`, with the same names and `await` as the only difference."""

from baas_sdk._async.batch import AsyncBatch
from baas_sdk._async.channels import AsyncChannel
from baas_sdk._async.client import AsyncClient
from baas_sdk._async.files import AsyncBucket, AsyncDownload
from baas_sdk._async.reading import AsyncExport
from baas_sdk._async.realtime import AsyncSubscription
from baas_sdk._async.records import AsyncCollection
from baas_sdk._sync.batch import Batch
from baas_sdk._sync.channels import Channel
from baas_sdk._sync.client import Client
from baas_sdk._sync.files import Bucket, Download
from baas_sdk._sync.reading import Export
from baas_sdk._sync.realtime import Subscription
from baas_sdk._sync.records import Collection
from baas_sdk.errors import (
    APIError,
    BaasError,
    BadRequest,
    ConfigError,
    Conflict,
    ConnectionFailed,
    FieldError,
    Forbidden,
    Invalid,
    NotAuthenticated,
    NotFound,
    PreconditionFailed,
    RateLimited,
    ServerError,
    TimedOut,
    TooLarge,
)
from baas_sdk.events import Ended, Event
from baas_sdk.expansions import Expansion
from baas_sdk.filters import F, Filter
from baas_sdk.models import (
    Expanded,
    File,
    Group,
    Groups,
    ImportReport,
    Model,
    Page,
    Progress,
    Record,
    Release,
    Resource,
    Session,
    Site,
    Upserted,
    User,
    Version,
)
from baas_sdk.operators import add, append, at_least, at_most, inc, now, remove, unset
from baas_sdk.planned import Planned
from baas_sdk.stores import FileStore, MemoryStore, Store
from baas_sdk.talk import Message

__version__ = "0.1.0"
__all__ = [
    "APIError",
    "AsyncBatch",
    "AsyncBucket",
    "AsyncChannel",
    "AsyncClient",
    "AsyncCollection",
    "AsyncDownload",
    "AsyncExport",
    "AsyncSubscription",
    "BaasError",
    "BadRequest",
    "Batch",
    "Bucket",
    "Channel",
    "Client",
    "Collection",
    "ConfigError",
    "Conflict",
    "ConnectionFailed",
    "Download",
    "Ended",
    "Event",
    "Expanded",
    "Expansion",
    "Export",
    "F",
    "FieldError",
    "File",
    "FileStore",
    "Filter",
    "Forbidden",
    "Group",
    "Groups",
    "ImportReport",
    "Invalid",
    "MemoryStore",
    "Message",
    "Model",
    "NotAuthenticated",
    "NotFound",
    "Page",
    "Planned",
    "PreconditionFailed",
    "Progress",
    "RateLimited",
    "Record",
    "Release",
    "Resource",
    "ServerError",
    "Session",
    "Site",
    "Store",
    "Subscription",
    "TimedOut",
    "TooLarge",
    "Upserted",
    "User",
    "Version",
    "add",
    "append",
    "at_least",
    "at_most",
    "inc",
    "now",
    "remove",
    "unset",
]
