-- The change log: every change of every record, in an order that readers can follow. A change is written down as pending in its own
-- transaction, by triggers, so that no writer can forget it and cascades are in it too; the sequencer (engines/changes) moves what is
-- pending into the log, where positions are dense.

create table {schema}._feed (
    only_row boolean primary key default true check (only_row),
    epoch uuid not null default gen_random_uuid(),  -- positions of another epoch mean nothing
    last_pos bigint not null default 0,
    floor_pos bigint not null default 0             -- the log is whole behind this position
) with (fillfactor = 10);
insert into {schema}._feed default values;

create table {schema}._change_pending (             -- nearly always empty
    -- Drawn while the row is locked, so for one record its order is the order of commits. One at a time: a cache would break that.
    seq bigint generated always as identity (cache 1) primary key,
    collection text collate "C" not null,
    record uuid not null,
    action text collate "C" not null,
    rev bigint not null,
    before jsonb,
    after jsonb,
    principal text not null,                        -- user:<id>, key:<id>, operator:<id>, anonymous; server for the server itself
    request_id text not null,
    at timestamptz not null default now()
);

create table {schema}._change_log (
    pos bigint primary key,
    seq bigint not null,
    collection text collate "C" not null,
    record uuid not null,
    action text collate "C" not null,
    rev bigint not null,
    before jsonb,
    after jsonb,
    principal text not null,
    request_id text not null,
    at timestamptz not null
);

-- Collections that keep the history of their records, and from when it is whole.
create table {schema}._histories (
    collection text collate "C" primary key,
    since timestamptz not null default clock_timestamp()
);

create table {schema}._history (
    seq bigint primary key,
    collection text collate "C" not null references {schema}._histories on delete cascade,
    record uuid not null,
    action text collate "C" not null,
    rev bigint not null,
    before jsonb,
    after jsonb,
    principal text not null,
    request_id text not null,
    at timestamptz not null
);
create index on {schema}._history (collection, record, seq);
create index on {schema}._history (collection, at);

-- Who writes is said by the statement that writes: `baas.by` is "<principal> <request id>" and ends with the transaction.
create function {schema}._log_new() returns trigger language plpgsql as $$
declare
    signed text := coalesce(nullif(current_setting('baas.by', true), ''), 'server ');
begin
    insert into {schema}._change_pending (collection, record, action, rev, after, principal, request_id)
    -- The alias cannot be a field's name, which would be taken for the column.
    select tg_table_name, _new.id, 'create', _new.rev, to_jsonb(_new) - '_search',
        split_part(signed, ' ', 1), substr(signed, strpos(signed, ' ') + 1)
    from new_rows _new;
    return null;
end
$$;

create function {schema}._log_change() returns trigger language plpgsql as $$
declare
    signed text := coalesce(nullif(current_setting('baas.by', true), ''), 'server ');
begin
    insert into {schema}._change_pending (collection, record, action, rev, before, after, principal, request_id)
    values (tg_table_name, old.id, lower(tg_op), coalesce(new.rev, old.rev), to_jsonb(old) - '_search', to_jsonb(new) - '_search',
        split_part(signed, ' ', 1), substr(signed, strpos(signed, ' ') + 1));
    return null;
end
$$;

-- A foreign key that sets a relation to null changes a record without a statement of ours: it is a revision all the same.
create function {schema}._count_change() returns trigger language plpgsql as $$
begin
    new.rev := old.rev + 1;
    new.updated_at := now();
    return new;
end
$$;

do $$
declare
    name text;
    definition jsonb;
begin
    for name, definition in select c.name, c.definition from {schema}._collections c where not c.definition ? 'view' loop
        execute format('create trigger "_log_new" after insert on {schema}.%I referencing new table as new_rows'
            ' for each statement execute function {schema}._log_new()', name);
        execute format('create trigger "_log_change" after update or delete on {schema}.%I'
            ' for each row execute function {schema}._log_change()', name);
        if exists (
            select from jsonb_array_elements(definition -> 'fields') f
            where f ->> 'type' = 'relation' and f ->> 'on_delete' = 'set_null' and not coalesce((f ->> 'many')::boolean, false)
        ) then
            execute format('create trigger "_count_change" before update on {schema}.%I for each row when (new.rev = old.rev)'
                ' execute function {schema}._count_change()', name);
        end if;
    end loop;
end
$$;
