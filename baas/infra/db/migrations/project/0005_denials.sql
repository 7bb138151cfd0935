-- Calls that a rule refused, for operators who ask why. Unlogged: after a crash nobody misses them, and an attacker who is refused
-- a thousand times a second writes no log. A request id may be the caller's own choice, so it is no key.
create unlogged table {schema}._denials (
    id bigint generated always as identity primary key,
    request_id text not null,
    at timestamptz not null,
    status int not null,
    code text not null,
    collection text not null,
    action text not null,
    record text,
    principal_kind text not null,
    principal_id text,
    schema_version bigint not null,
    input jsonb,
    input_rows int,
    filter text
);
create index _denials_request on {schema}._denials (request_id);
create index _denials_at on {schema}._denials (at);
