-- Answers of calls that had an Idempotency-Key, for a day. Each is written in the transaction of the call's effect: there is never
-- one without the other.
create table {schema}._idempotency (
    principal text collate "C" not null,   -- user:<id>, key:<id>, operator:<id>, anonymous:<address>
    key text collate "C" not null check (length(key) between 1 and 255),
    fingerprint bytea not null,            -- a keyed hash of what was asked
    status int,                            -- null only while the call runs, which nobody else can see
    headers jsonb,                         -- [[name, value], …]
    body bytea,
    created_at timestamptz not null default now(),
    primary key (principal, key)
);
create index _idempotency_created on {schema}._idempotency (created_at);
