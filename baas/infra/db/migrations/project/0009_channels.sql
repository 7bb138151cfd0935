-- What clients say to each other: the rules of channels by pattern, and who is there.
create table {schema}._channels (
    pattern text collate "C" primary key,
    rules jsonb not null               -- join, send, track: an expression, or null for nobody
);

-- Under a lease that the server of the connection renews; a crash of PostgreSQL loses them, the next renewal writes them again.
create unlogged table {schema}._present (
    channel text collate "C" not null,
    connection uuid not null,
    who text,                          -- user:<id>, key:<id>, operator:<id>; null for a guest
    state jsonb not null,
    expires_at timestamptz not null,
    primary key (channel, connection)
);
create index on {schema}._present (connection);
