-- Sign-in. The accounts themselves are rows of the collection `users`; nothing here can be reached as a collection.

create table {schema}._token_keys (
    id text collate "C" primary key,   -- `kid` of the tokens it signs
    public_key jsonb not null,         -- as published (RFC 7517)
    private_key bytea not null,        -- sealed under the server's key
    created_at timestamptz not null default now(),
    signs_from timestamptz not null default now(),  -- the newest that has begun signs; the others still verify
    retires_at timestamptz             -- and from here on it verifies nothing
);

create table {schema}._credentials (
    "user" uuid primary key,
    password_hash text not null,
    changed_at timestamptz not null default now()
);

-- A session is a family of refresh tokens: the token of a generation is a keyed digest of the salt, so none is stored.
create table {schema}._sessions (
    id uuid primary key,
    "user" uuid not null,
    salt bytea not null,
    generation int not null default 0,
    created_at timestamptz not null default now(),
    rotated_at timestamptz not null default now(),
    ends_at timestamptz not null,      -- when it ends unless it is used before
    expires_at timestamptz not null,   -- when it ends however much it is used
    ended_at timestamptz,
    address text not null default '',
    user_agent text not null default ''
);
create index on {schema}._sessions ("user");
create index on {schema}._sessions (ends_at);
create index on {schema}._sessions (ended_at) where ended_at is not null;

create table {schema}._throttle (
    key text collate "C" primary key,
    tokens double precision not null,
    allowed boolean not null,
    updated_at timestamptz not null
);
create index on {schema}._throttle (updated_at);

-- Hung on `users` when that table is made: whichever door disables, renames or deletes an account, its sessions end.
create function {schema}._end_sessions() returns trigger language plpgsql as $$
begin
    update {schema}._sessions set ended_at = now(), ends_at = now() where "user" = old.id and ended_at is null;
    if tg_op = 'DELETE' then
        delete from {schema}._credentials where "user" = old.id;
    end if;
    return null;
end
$$;
