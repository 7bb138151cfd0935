"""What went wrong, as an exit code and a problem document. Expected failures end here, never in a traceback."""

import sys
from collections.abc import Mapping
from enum import IntEnum

from baas_cli.invocation import NotLoggedIn, Usage
from baas_cli.output import ConfirmationNeeded, Declined, NoSuchField
from baas_cli.profiles import BadEnvironment, BadProfiles


class Exit(IntEnum):
    """What a script can tell apart."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_LOGGED_IN = 4
    FORBIDDEN = 5
    CONFLICT = 6
    UNREACHABLE = 7
    CONFIRMATION_NEEDED = 8
    INTERRUPTED = 130


LOGIN_HINT = "baas login URL, or set BAAS_TOKEN."


def failure_of(error: BaseException) -> tuple[Exit, Mapping[str, object]] | None:
    """The exit code and the problem document of an expected failure; None for a fault of ours."""
    from baas_sdk import APIError, BaasError

    match error:
        case APIError():
            return _of_status(error.status), _with_hint(error)
        case BaasError():
            return _of_client(error)
        case Usage() | NoSuchField() | BadEnvironment():
            return Exit.USAGE, _problem("usage", "Not understood", str(error))
        case NotLoggedIn():
            return Exit.NOT_LOGGED_IN, _problem("not_logged_in", "Not logged in", str(error), LOGIN_HINT)
        case ConfirmationNeeded():
            return Exit.CONFIRMATION_NEEDED, _problem("confirmation_needed", "Confirmation needed", str(error))
        case Declined():
            return Exit.FAILED, _problem("declined", "Nothing was done", str(error))
        case BadProfiles():
            return Exit.FAILED, _problem("bad_profiles", "The profiles cannot be used", str(error))
        case OSError() if error.filename is not None or error.strerror is not None:
            where = f"{error.filename}: " if error.filename is not None else ""
            return Exit.FAILED, _problem("file", "A file cannot be used", f"{where}{error.strerror}.")
    return _of_machine(error)


def _of_machine(error: BaseException) -> tuple[Exit, Mapping[str, object]] | None:
    """What keeps a server from running here. Where the server's code was not imported yet, the error is none of its."""
    if "baas.process" not in sys.modules:
        return None
    from baas.base.errors import BaasError
    from baas.infra.db.embedded.faults import ClusterFault
    from baas.infra.db.suitable import Unsuitable
    from baas.infra.observe.log import redact
    from baas.process import CannotStart

    match error:
        case CannotStart():
            return Exit(error.exit_code), _problem(error.code, "This cannot be done", redact(str(error)))
        case ClusterFault():
            return Exit.FAILED, _problem("database_failed", "The embedded PostgreSQL cannot be used", redact(str(error)))
        case Unsuitable() if error.unreachable:
            return Exit.UNREACHABLE, _problem("database_unreachable", "The database cannot be reached", redact(str(error)))
        case Unsuitable():
            return Exit.FAILED, _problem("database_unsuitable", "The database cannot be used", redact(str(error)))
        case BaasError():
            faults = [{"pointer": one.pointer, "code": one.code, "message": one.message} for one in error.errors]
            problem = _problem(error.code, error.title, redact(error.detail), error.hint)
            return _of_status(error.status), {**problem, **({"errors": faults} if faults else {})}
    return None


def _of_status(status: int) -> Exit:
    codes = {401: Exit.NOT_LOGGED_IN, 403: Exit.FORBIDDEN, 404: Exit.NOT_FOUND, 409: Exit.CONFLICT, 412: Exit.CONFLICT}
    return codes.get(status, Exit.FAILED)


def _of_client(error: Exception) -> tuple[Exit, Mapping[str, object]]:
    from baas_sdk import ConnectionFailed, TimedOut

    if isinstance(error, ConnectionFailed):
        code = "timed_out" if isinstance(error, TimedOut) else "unreachable"
        hint = "Does it run? Start one here with: baas dev; or name another with --url."
        return Exit.UNREACHABLE, _problem(code, "The server cannot be reached", str(error), hint)
    return Exit.FAILED, _problem("cannot_send", "This cannot be sent", str(error))


def _with_hint(error: Exception) -> Mapping[str, object]:
    from baas_sdk import APIError, NotAuthenticated

    problem = error.problem() if isinstance(error, APIError) else {}
    if problem.get("code") == "confirm_required":
        return {"hint": "look at what would be lost, then repeat with --allow-data-loss.", **problem}
    return {"hint": LOGIN_HINT, **problem} if isinstance(error, NotAuthenticated) else problem


def _problem(code: str, title: str, detail: str, hint: str | None = None) -> Mapping[str, object]:
    return {"title": title, "code": code, "detail": detail, **({} if hint is None else {"hint": hint})}
