-- Answers of calls that had an Idempotency-Key and no project, or changed the project itself: as `_idempotency` of a project.

create table baas._idempotency (
    principal text collate "C" not null,   -- operator:<id>, anonymous:<address>
    key text collate "C" not null check (length(key) between 1 and 255),
    fingerprint bytea not null,            -- a keyed hash of what was asked
    status int,                            -- null only while the call runs, which nobody else can see
    headers jsonb,                         -- [[name, value], …]
    body bytea,                            -- sealed under the server's key
    created_at timestamptz not null default now(),
    primary key (principal, key)
);
create index _idempotency_created on baas._idempotency (created_at);
