-- The control plane: what belongs to the installation and changes rarely. Everything a project writes lives in its own schema.

create table baas.installation (
    only_row boolean primary key default true check (only_row),
    id uuid not null default gen_random_uuid(),
    secret_key_check bytea,            -- a keyed digest: servers that share this database must share the secret key
    created_at timestamptz not null default now()
);
insert into baas.installation default values;

create table baas.operators (
    id uuid primary key,
    email text collate "C" not null unique,
    password_hash text not null,
    created_at timestamptz not null default now()
);

create table baas.operator_sessions (
    token_hash bytea primary key,
    operator uuid not null references baas.operators on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);

create table baas.setup_tokens (
    token_hash bytea primary key,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);

create table baas.projects (
    id uuid primary key,
    name text collate "C" not null unique,
    schema text collate "C" not null unique,
    schema_version int not null default 0,
    settings jsonb not null default '{}',
    created_at timestamptz not null default now()
);

create table baas.api_keys (
    id uuid primary key,
    project uuid not null references baas.projects on delete cascade,
    name text not null,
    key_hash bytea not null unique,
    hint text not null,                -- the first characters, to recognise a key by
    scopes text[] not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz
);
create index on baas.api_keys (project);

-- What servers keep in memory and must forget: read by everyone within two seconds, also when a notification is lost.
create table baas.invalidations (
    seq bigint generated always as identity primary key,
    kind text not null,
    key text not null,
    at timestamptz not null default clock_timestamp()
);
create index on baas.invalidations (at);

-- Failed sign-ins of operators per account and per address: token buckets, see infra/db/throttle.py.
create table baas.throttle (
    key text collate "C" primary key,
    tokens double precision not null,
    allowed boolean not null,          -- whether the last attempt was
    updated_at timestamptz not null
);
create index on baas.throttle (updated_at);
