"""What a client wants to follow, from a query string, a body or a message, as values; every fault of form named at once."""

from collections.abc import Mapping

from baas.base.errors import BadRequest, Fault, Invalid
from baas.base.strict_json import loads_text
from baas.features.realtime.model import MAX_SUBSCRIPTIONS, Subscription

_LISTED = ("filter", "vars", "fields", "expand")
_KNOWN = ("id", "collection", "initial", *_LISTED)


def subscriptions_by_text(text: str | None) -> tuple[Subscription, ...]:
    """The parameter `subscribe`: a JSON list. Raises BadRequest (`bad_parameter`), Invalid."""
    if text is None:
        raise BadRequest("subscribe says what to follow: a JSON list.", code="bad_parameter", parameter="subscribe")
    return subscriptions(loads_text(text, "subscribe"), "")


def subscriptions_by_body(value: object) -> tuple[Subscription, ...]:
    """A body: the list itself, or an object with it as `subscribe`. Raises Invalid."""
    if isinstance(value, dict):
        strangers = [_stranger("", name) for name in value if name != "subscribe"]
        if strangers:
            raise Invalid("The subscriptions are wrong.", errors=strangers)
        return subscriptions(value.get("subscribe"), "/subscribe")
    return subscriptions(value, "")


def subscriptions(value: object, place: str) -> tuple[Subscription, ...]:
    """Raises Invalid with every fault, each with a pointer below `place`."""
    if not isinstance(value, list):
        raise Invalid("The subscriptions are wrong.", errors=[Fault(place, "wrong_type", "Must be a list of subscriptions.")])
    if len(value) > MAX_SUBSCRIPTIONS:
        raise Invalid(
            f"One connection follows at most {MAX_SUBSCRIPTIONS} lists.", code="limit_exceeded", limit=MAX_SUBSCRIPTIONS
        )
    faults: list[Fault] = []
    made = [subscription(one, f"{place}/{at}", faults) for at, one in enumerate(value)]
    known: set[str] = set()
    for at, one in enumerate(made):
        if one is not None and one.id in known:
            faults.append(Fault(f"{place}/{at}/id", "repeated", "Another subscription has this id."))
        known.add(one.id if one is not None else "")
    if faults:
        raise Invalid("The subscriptions are wrong.", errors=faults)
    return tuple(one for one in made if one is not None)


def subscription(value: object, place: str, faults: list[Fault]) -> Subscription | None:
    """One of them; None when something is wrong, which is added to `faults`."""
    if not isinstance(value, dict):
        faults.append(Fault(place, "wrong_type", "Must be an object."))
        return None
    before = len(faults)
    faults += [_stranger(place, name) for name in value if name not in _KNOWN]
    if not Subscription.is_id(value.get("id")):
        faults.append(Fault(f"{place}/id", "bad_name", "Must be 1 to 64 letters, digits or any of _ . : -"))
    if not isinstance(value.get("collection"), str):
        faults.append(Fault(f"{place}/collection", "required", "Must be the name of a collection."))
    initial = value.get("initial")
    if initial is not None and not isinstance(initial, bool):
        faults.append(Fault(f"{place}/initial", "wrong_type", "Must be true or false."))
    if len(faults) > before:
        return None
    wanted: Mapping[str, object] = {name: value[name] for name in _LISTED if value.get(name) is not None}
    return Subscription(str(value["id"]), str(value["collection"]), wanted, bool(initial), place)


def _stranger(place: str, name: str) -> Fault:
    """A key that means nothing; its name is cut, because an answer must not be as long as the longest request."""
    return Fault(f"{place}/{name[:100]}", "unknown_key", "There is no such key here.")
