"""The settings of the embedded database server."""

from collections.abc import Mapping

from baas.infra.db.embedded.host import HOST

_MIB = 1024**2


def server_settings(more: Mapping[str, object]) -> str:
    """The text of `baas.conf`; `more` wins over ours. Statements and values stay out of the log: they are users' data."""
    values: dict[str, object] = {
        "listen_addresses": "''",
        # Idle memory grows with both: what describes the pages is made at the start, and log buffers are filled ahead.
        "shared_buffers": f"{max(128, min(HOST.memory_bytes() // _MIB // 4, 256))}MB",
        "wal_buffers": "4MB",
        "wal_level": "logical",
        "max_logical_replication_workers": 0,
        "max_wal_size": "1GB",
        "jit": "off",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "log_line_prefix": "'%m [%p] '",
        "log_min_duration_statement": "1s",
        "log_parameter_max_length": 0,
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
    }
    if HOST.shared_memory_is_small():
        values["max_parallel_workers_per_gather"] = 0
    return "".join(f"{name} = {value}\n" for name, value in (values | dict(more)).items())
