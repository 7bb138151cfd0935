-- What the project's collections are. The tables themselves stand beside these, under their own names; `_` is ours alone.

create table {schema}._schema (
    only_row boolean primary key default true check (only_row),
    version bigint not null default 0  -- grows with every change of any collection
);
insert into {schema}._schema default values;

create table {schema}._collections (
    name text collate "C" primary key,
    definition jsonb not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
