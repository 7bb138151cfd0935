"""The server's settings for tests: the shipped ones, but for what would only cost time."""

from pathlib import Path

from baas.base.settings import Secret, Settings


def settings_for_tests(data_dir: Path, **changes: object) -> Settings:
    """Cheap password hashing, no limit on calls and creates per address; everything else as shipped."""
    values: dict[str, object] = {
        "data_dir": data_dir,
        "secret_key": Secret("test-key-of-at-least-thirty-two-bytes"),
        "argon2_memory_kib": 64,
        "argon2_time": 1,
        "api_per_address": 1_000_000,
        "anonymous_creates_per_address": 1_000_000,
        "sign_in_per_address": 1_000_000,
    }
    return Settings(**(values | changes))  # type: ignore[arg-type]
